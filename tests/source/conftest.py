"""A table of a user's own to read from."""

from tests.source.sources import sqlite_source

__all__ = ["sqlite_source"]
