"""Our own database, on SQLite and PostgreSQL: all of its SQL."""
