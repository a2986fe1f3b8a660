"""The database of Forecaster, on SQLite and PostgreSQL: all of its SQL."""
