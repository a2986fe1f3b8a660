"""Rows of a user's own database: read-only, bounded, incremental."""
