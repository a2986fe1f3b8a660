"""Open Forecaster's own database, and the two ways to use it: `reading` and `writing`.

SQLite: the driver of the standard library only (a second SQLite library in one process loses
committed data), write-ahead log, every commit on disk, the write lock taken at `begin`.
PostgreSQL: psycopg 3, sessions in UTC, with limits on waiting.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event

from forecaster.errors import DatabaseUnavailable, UnsupportedDatabase
from forecaster.store.failures import translate
from forecaster.store.urls import masked, store_url

SQLITE_MINIMUM = (3, 37, 0)
"""STRICT tables exist since then."""

_SQLITE_BUSY_SECONDS = 30
_POSTGRES_OPTIONS = {
    "TimeZone": "UTC",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
}


def open_engine(
    url: str, *, sqlite_version: tuple[int, int, int] = sqlite3.sqlite_version_info
) -> Engine:
    """Return an engine on the database at `url`; it connects when first used.

    Failures of the database come out of it as StoreErrors. `engine.begin()` writes.
    """
    parsed = store_url(url)
    if parsed.get_backend_name() == "sqlite":
        _require_sqlite(parsed, sqlite_version)
        engine = _sqlite_engine(parsed)
    else:
        engine = create_engine(
            parsed,
            connect_args=postgres_arguments(parsed, _POSTGRES_OPTIONS),
            pool_pre_ping=True,
            hide_parameters=True,
        )
    event.listen(engine, "handle_error", _translated)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that may write; committed at the end, rolled back by any exception."""
    with engine.begin() as conn:
        yield conn


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that sees a single state of the database and blocks no writer."""
    with engine.connect() as conn:
        if conn.dialect.name == "postgresql":
            conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            conn.execution_options(sqlite_begin="BEGIN")
        with conn.begin():
            yield conn


def postgres_arguments(url: URL, options: dict[str, str]) -> dict[str, Any]:
    """Return psycopg's arguments: session `options` come after those of the address."""
    given = url.query.get("options", ())
    parts = [given] if isinstance(given, str) else [*given]
    parts += [f"-c {name}={value}" for name, value in options.items()]
    return {
        "options": " ".join(parts),
        "connect_timeout": int(str(url.query.get("connect_timeout", 5))),
        "application_name": url.query.get("application_name", "forecaster"),
        "client_encoding": "utf8",
        "prepare_threshold": None,  # prepared statements do not survive a pooling proxy
    }


def _require_sqlite(url: URL, version: tuple[int, int, int]) -> None:
    if version < SQLITE_MINIMUM:
        found, needed = (".".join(map(str, numbers)) for numbers in (version, SQLITE_MINIMUM[:2]))
        raise UnsupportedDatabase(
            f"sqlite must be at least {needed}, found {found}",
            hint="use a newer Python, or database_url = 'postgresql://…'",
        )
    folder = Path(url.database or "").parent
    if not folder.is_dir():
        raise DatabaseUnavailable(
            f"{masked(url)} must be in an existing folder, found no {folder}",
            hint=f"mkdir -p {folder}",
        )


def _sqlite_engine(url: URL) -> Engine:
    timeout = float(str(url.query.get("timeout", _SQLITE_BUSY_SECONDS)))
    engine = create_engine(url, connect_args={"timeout": timeout}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we begin by ourselves, see _begin_sqlite
    _enter_wal(connection)
    for setting in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-32768"):
        connection.execute(f"PRAGMA {setting}")


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; a new file will be able to shrink.

    Whoever makes the database at the same time is waited for:
    SQLite may answer at once that it is busy, whatever the timeout, when the journal changes.
    """
    [milliseconds] = connection.execute("PRAGMA busy_timeout").fetchone()
    until = time.monotonic() + milliseconds / 1000
    while True:
        try:
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # heard only by an empty file
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def _begin_sqlite(conn: Connection) -> None:
    # A transaction that starts as a reader and then writes fails at once when another wrote.
    conn.exec_driver_sql(conn.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE"))


def _translated(context: ExceptionContext) -> BaseException | None:
    known = isinstance(context.original_exception, (psycopg.Error, sqlite3.Error))
    if not known or context.is_pre_ping or context.engine is None:
        return None
    return translate(context.original_exception, context.engine.url)
