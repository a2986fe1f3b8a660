"""The schema, partitions, retention and sizes of our own database."""
