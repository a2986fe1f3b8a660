"""Open a SQLite file: WAL mode, synchronous commits, the write lock taken at `begin`."""

import math
import sqlite3
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from forecaster.errors import DatabaseUnavailable, UnsupportedDatabase
from forecaster.store.connection import sqlite_files
from forecaster.store.connection.urls import masked

SQLITE_MINIMUM = (3, 37, 0)
"""The first version with STRICT tables."""

_BUSY_SECONDS = 30
_USUAL, _SET = "forecaster_usual_busy_timeout", "forecaster_busy_timeout"
"""Keys in `info` of a connection: its usual and its current busy timeout, in milliseconds."""


def sqlite_engine(url: URL, version: tuple[int, int, int]) -> Engine:
    """Return an engine on the file at `url`; UnsupportedDatabase when SQLite is too old."""
    _require(url, version)
    timeout = float(str(url.query.get("timeout", _BUSY_SECONDS)))
    engine = create_engine(url, connect_args={"timeout": timeout}, hide_parameters=True)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    sqlite_files.require_same_file(engine)
    return engine


def _require(url: URL, version: tuple[int, int, int]) -> None:
    if version < SQLITE_MINIMUM:
        actual, needed = (".".join(map(str, numbers)) for numbers in (version, SQLITE_MINIMUM[:2]))
        raise UnsupportedDatabase(
            f"sqlite must be at least {needed}, found {actual}",
            hint="use a newer Python, or database_url = 'postgresql://…'",
        )
    folder = Path(url.database or "").parent
    if not folder.is_dir():
        raise DatabaseUnavailable(
            f"{masked(url)}: directory {folder} does not exist",
            hint=f"mkdir -p {folder}",
        )
    sqlite_files.require_local(url)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is sent explicitly, see _begin
    _enter_wal(connection)
    for setting in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-32768"):
        connection.execute(f"PRAGMA {setting}")


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; a new file will be able to shrink.

    Waits for other processes that create the database at the same time:
    SQLite may report busy at once, despite the timeout, when the journal mode changes.
    """
    [milliseconds] = connection.execute("PRAGMA busy_timeout").fetchone()
    until = time.monotonic() + milliseconds / 1000
    while True:
        try:
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                connection.execute(
                    "PRAGMA auto_vacuum=INCREMENTAL"
                )  # takes effect only on an empty file
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def _begin(conn: Connection) -> None:
    # A transaction that starts as a reader and then writes fails at once when another wrote.
    begin = conn.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE")
    if begin is not None:
        conn.exec_driver_sql(begin)


def set_busy_timeout(
    driver: sqlite3.Connection, info: MutableMapping[Any, Any], seconds: float
) -> None:
    """Have a connection wait for locks for `seconds`, but no longer than is usual.

    More than a second is rounded up to whole seconds, so that frequent calls rarely change it.
    `info` keeps the current value for as long as the connection is open.
    """
    if _USUAL not in info:
        [info[_USUAL]] = driver.execute("PRAGMA busy_timeout").fetchone()
        info[_SET] = info[_USUAL]
    wanted = info[_USUAL]
    if seconds * 1000 < wanted:
        wanted = max(1, math.ceil(seconds) * 1000 if seconds > 1 else math.ceil(seconds * 1000))
    if wanted != info[_SET]:
        driver.execute(f"PRAGMA busy_timeout = {min(wanted, info[_USUAL])}")
        info[_SET] = wanted
