"""Files of rows: CSV, Parquet and NDJSON."""
