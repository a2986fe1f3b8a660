"""Open Forecaster's own database, and the ways to use it: `reading`, `writing`, `autocommit`.

SQLite: the driver of the standard library only (a second SQLite library in one process loses
committed data). PostgreSQL: psycopg 3. A limit or a lease that `limits.guarded` puts on the engine
is respected here.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import psycopg
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from forecaster.errors import DatabaseUnavailable, StoreError
from forecaster.store.connection import limits, postgres, sqlite, watchdog
from forecaster.store.connection.errors import is_spent, translate
from forecaster.store.connection.limits import Limit
from forecaster.store.connection.sqlite import sqlite_engine
from forecaster.store.connection.urls import masked, store_url

_POSTGRES_OPTIONS = {
    "TimeZone": "UTC",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
}


def open_engine(
    url: str,
    *,
    sqlite_version: tuple[int, int, int] = sqlite3.sqlite_version_info,
    application_name: str | None = None,
) -> Engine:
    """Return an engine on the database at `url`; it connects when first used.

    Failures of the database come out of it as StoreErrors. `engine.begin()` writes.
    PostgreSQL shows its sessions under `application_name`, unless the URL sets another.
    """
    parsed = store_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sqlite_engine(parsed, sqlite_version)
    else:
        engine = create_engine(
            parsed,
            connect_args=postgres.postgres_arguments(
                parsed, _POSTGRES_OPTIONS, application_name=application_name
            ),
            pool_timeout=postgres.ACQUIRE_SECONDS,
            hide_parameters=True,
        )
        postgres.bound_connections(engine)
    event.listen(engine, "handle_error", _translated)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that may write; committed at the end, rolled back by any exception.

    TickTakenOver when the engine is guarded by a lease that another holder took over.
    """
    with _connected(engine) as conn, _transaction(conn):
        limits.set_statement_timeout(conn)
        limits.hold_lease(conn)
        yield conn


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction on a single snapshot of the database; blocks no writer."""
    with _connected(engine) as conn:
        if conn.dialect.name == "postgresql":
            conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            conn.execution_options(sqlite_begin="BEGIN")
        with _transaction(conn):
            limits.set_statement_timeout(conn)
            yield conn


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection in autocommit mode: each statement is a transaction of its own.

    For small frequent statements. Timeouts apply, but no lease is locked meanwhile.
    """
    with _connected(engine) as conn:
        if conn.dialect.name == "postgresql":
            conn.execution_options(isolation_level="AUTOCOMMIT")
        else:
            conn.execution_options(sqlite_begin=None)
        yield conn


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    limit = limits.limit_of(engine) or Limit()
    limit.check()
    with (
        limit.converting(),
        _disposing_stale_pool(engine),
        _acquire(engine, limit) as conn,
        _cutting(conn, limit),
    ):
        yield conn


@contextmanager
def _transaction(conn: Connection) -> Iterator[None]:
    transaction = conn.begin()
    try:
        yield
        transaction.commit()
    except BaseException:
        with suppress(StoreError):  # the connection was cut; the original error is more useful
            transaction.rollback()
        raise


def _acquire(engine: Engine, limit: Limit) -> Connection:
    try:
        with postgres.acquiring(limit.remaining):
            return engine.connect()
    except PoolTimeoutError as error:
        raise DatabaseUnavailable(
            f"{masked(engine.url)}: connection pool exhausted, "
            f"no connection free within {postgres.ACQUIRE_SECONDS:g} s",
            hint="check what the running jobs wait for",
        ) from error


def _cutting(conn: Connection, limit: Limit) -> AbstractContextManager[None]:
    driver = conn.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        sqlite.set_busy_timeout(driver, conn.info, limit.remaining())
    if limits.limit_of(conn.engine) is None:
        return nullcontext()
    if isinstance(driver, psycopg.Connection):
        return watchdog.watching(driver, limit.remaining)
    assert isinstance(driver, sqlite3.Connection)
    return watchdog.interrupting(driver, limit.remaining)


@contextmanager
def _disposing_stale_pool(engine: Engine) -> Iterator[None]:
    """Discard open connections once one is unusable: the primary may have changed."""
    try:
        yield
    except DatabaseUnavailable as error:
        if is_spent(error.__cause__):
            engine.dispose()
        raise


def _translated(context: ExceptionContext) -> BaseException | None:
    known = isinstance(context.original_exception, (psycopg.Error, sqlite3.Error))
    if not known or context.is_pre_ping or context.engine is None:
        return None
    return translate(context.original_exception, context.engine.url)
