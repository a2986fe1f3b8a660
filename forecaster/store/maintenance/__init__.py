"""The schema, partitions, retention and sizes of the database."""
