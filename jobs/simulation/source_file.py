"""The source of a simulated run: an SQLite file whose rows appear as time passes."""

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import polars as pl

QUERY = "SELECT series_id, timestamp, value FROM deliveries"
"""The `query` of a dataset that reads it."""

_TABLE = """
CREATE TABLE deliveries (row INTEGER PRIMARY KEY, series_id TEXT, timestamp TEXT, value REAL);
CREATE INDEX deliveries_timestamp ON deliveries (timestamp);
"""
_WRITE = """
INSERT INTO deliveries (row, series_id, timestamp, value) VALUES (?, ?, ?, ?)
ON CONFLICT (row) DO UPDATE SET value = excluded.value
"""


class SourceFile:
    """A file at `path`; nobody reads it while it is written."""

    def __init__(self, path: Path, deliveries: pl.DataFrame) -> None:
        """Create the file; `deliveries` are DELIVERIES with `text`, sorted by `shown_at`."""
        self._path, self._hidden, self._pending = path, path.with_suffix(".away"), deliveries
        self.url = f"sqlite:///{path}"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_TABLE)

    def advance(self, until: datetime) -> None:
        """Write what is shown up to `until`, and make the file available."""
        if self._hidden.exists():
            self._hidden.rename(self._path)
        count = self._pending["shown_at"].search_sorted(until, side="right")
        rows = self._pending[:count].select("row", "series_id", "text", "value").iter_rows()
        self._pending = self._pending[count:]
        if count:
            with closing(sqlite3.connect(self._path)) as connection, connection:
                connection.execute("PRAGMA synchronous = OFF")  # the file is temporary
                connection.executemany(_WRITE, rows)

    def hide(self) -> None:
        """Make the file unavailable."""
        if self._path.exists():
            self._path.rename(self._hidden)
