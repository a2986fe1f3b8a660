"""A source to rehearse with: a SQLite file whose rows come and change, and that may be away."""

import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl

QUERY = "SELECT series_id, timestamp, value FROM deliveries"
"""What a dataset asks it."""

_TABLE = """
CREATE TABLE deliveries (row INTEGER PRIMARY KEY, series_id TEXT, timestamp TEXT, value REAL);
CREATE INDEX deliveries_timestamp ON deliveries (timestamp);
"""
_WRITE = """
INSERT INTO deliveries (row, series_id, timestamp, value) VALUES (?, ?, ?, ?)
ON CONFLICT (row) DO UPDATE SET value = excluded.value
"""


class SourceFile:
    """The file at `path`, which is made; others read it while nothing is written."""

    def __init__(self, path: Path) -> None:
        self._path, self._aside = path, path.with_suffix(".away")
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_TABLE)

    @property
    def url(self) -> str:
        """The address of the file."""
        return f"sqlite:///{self._path}"

    def write(self, rows: pl.DataFrame) -> None:
        """Add rows (row, series_id, text, value), or change the value of those that are there."""
        if rows.is_empty():
            return
        found = rows.select("row", "series_id", "text", "value").iter_rows()
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")  # it is thrown away after all
            connection.executemany(_WRITE, found)

    def set_away(self, is_away: bool) -> None:
        """Let nobody find the file, or let everybody find it again."""
        if is_away and self._path.exists():
            self._path.rename(self._aside)
        elif not is_away and self._aside.exists():
            self._aside.rename(self._path)
