"""A session in a source: read-only, with time limits, its failures reported without secrets."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from psycopg import errors as pg
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import NullPool

from forecaster.errors import DataError, ForecasterError, SourceUnavailable, UnsupportedDatabase
from forecaster.source.query import SourceQuery
from forecaster.store.connection.errors import describe, is_bad_sqlite_statement
from forecaster.store.connection.postgres import postgres_arguments
from forecaster.store.connection.urls import masked, parse_url

ENDED_AS_IDLE = pg.IdleInTransactionSessionTimeout.sqlstate
"""Its class is that of invalid transaction states, but a setting of the server causes it."""
_LOCK_TIMEOUT = "30s"
_STEPS_BETWEEN_CHECKS = 100_000
"""SQLite virtual machine instructions between checks of the clock: some milliseconds."""
_SERVER_TO_READ = {"read-write": "primary", "read-only": "prefer-standby"}
"""`target_session_attrs` as given, and what to use instead: our sessions are read-only, so none
counts as read-write, and libpq would find no server, or take the first."""
_READ_ONLY = {
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


@contextmanager
def session(request: SourceQuery) -> Iterator[Connection]:
    """Connect to the source.

    DataError when the query cannot run, SourceUnavailable when there is no answer,
    UnsupportedDatabase for an address without a driver.
    """
    address = parse_url(request.url)
    engine = _open(address, request)

    event.listen(engine, "handle_error", partial(_translated, request=request, url=address))
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()


def out_of_time(request: SourceQuery) -> SourceUnavailable:
    """Return the failure of a read that took longer than `read_timeout`."""
    address = masked(parse_url(request.url))
    return SourceUnavailable(
        f"source {address} of dataset {request.dataset} timed out after {request.seconds:g} s",
        hint="look for a slow query or a lock in the source, or raise read_timeout in "
        f"[datasets.{request.dataset}]",
    )


def explain(error: BaseException, request: SourceQuery, url: URL, *, gone: bool) -> ForecasterError:
    """Return a driver's `error` as ours; `gone` when the query may not be the cause."""
    if _is_out_of_time(error):
        return out_of_time(request)
    if gone and not is_bad_sqlite_statement(error):
        return unavailable(request, url, describe(error, url))
    return bad_query(request, describe(error, url))


def unavailable(request: SourceQuery, url: URL, reason: str) -> SourceUnavailable:
    """Return the failure of a source that cannot be reached, or lost the connection."""
    is_file = url.get_backend_name() == "sqlite"
    cause = "the file exists" if is_file else "the database is running"
    return SourceUnavailable(
        f"source {masked(url)} of dataset {request.dataset} is unavailable: {reason}",
        hint=f"check that {cause} and that source_url in [datasets.{request.dataset}] is correct",
    )


def bad_query(request: SourceQuery, reason: str) -> DataError:
    """Return the failure of a query that its database rejects."""
    return DataError(
        f"query of dataset {request.dataset} failed: {reason}",
        hint=f"fix query in [datasets.{request.dataset}]",
    )


def _open(url: URL, request: SourceQuery) -> Engine:
    arguments: dict[str, Any] = {}
    match url.get_backend_name():
        case "sqlite":
            url = _existing_file(url)
        case "postgresql":
            url = _server_to_read(url)
            arguments = postgres_arguments(url, _postgres_options(request))
        case "duckdb":
            arguments = {"read_only": True}
    try:
        engine = create_engine(
            url, connect_args=arguments, poolclass=NullPool, hide_parameters=True
        )
    except (sa.exc.ArgumentError, ImportError) as error:
        raise UnsupportedDatabase(
            f"no driver is installed for {url.drivername}",
            hint="install the SQLAlchemy driver for this database",
        ) from error
    _make_read_only(engine, request.seconds)
    return engine


def _postgres_options(request: SourceQuery) -> dict[str, str]:
    return {
        # Naive columns compare with :since on the clock they were written on.
        "TimeZone": request.timezone or "UTC",
        "default_transaction_read_only": "on",
        "statement_timeout": f"{max(1, round(request.seconds * 1000))}ms",
        "lock_timeout": _LOCK_TIMEOUT,
        "cursor_tuple_fraction": "1",  # all rows are fetched, so plan for all
    }


def _server_to_read(url: URL) -> URL:
    """Return the address so that a read-only session finds the intended server."""
    wanted = url.query.get("target_session_attrs")
    replacement = _SERVER_TO_READ.get(wanted) if isinstance(wanted, str) else None
    return (
        url if replacement is None else url.update_query_dict({"target_session_attrs": replacement})
    )


def _existing_file(url: URL) -> URL:
    """Return the address in a form that does not create a missing file."""
    database = url.database or ""
    if database.startswith("file:"):
        return url
    path = quote(str(Path(database).absolute()))
    return url.set(database=f"file:{path}").update_query_dict({"mode": "rw", "uri": "true"})


def _make_read_only(engine: Engine, seconds: float) -> None:
    backend = engine.dialect.name

    def prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
        until = time.monotonic() + seconds
        connection.execute("PRAGMA query_only=ON")
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_BETWEEN_CHECKS)

    def prepare(connection: Any, _record: object) -> None:
        connection.cursor().execute(_READ_ONLY[backend])

    if backend == "sqlite":
        event.listen(engine, "connect", prepare_sqlite)
    elif backend in _READ_ONLY:
        event.listen(engine, "connect", prepare)


def _translated(context: ExceptionContext, request: SourceQuery, url: URL) -> ForecasterError:
    kinds = sa.exc.OperationalError | sa.exc.InterfaceError
    error = context.original_exception
    gone = isinstance(context.sqlalchemy_exception, kinds)
    gone = gone or isinstance(error, pg.IdleInTransactionSessionTimeout)
    return explain(error, request, url, gone=gone)


def _is_out_of_time(error: BaseException) -> bool:
    is_interrupted = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
    return is_interrupted or isinstance(error, pg.QueryCanceled)
