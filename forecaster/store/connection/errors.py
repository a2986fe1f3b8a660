"""Translate database driver errors into StoreErrors, with a hint and without secrets."""

import sqlite3
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg
from sqlalchemy import URL

from forecaster.errors import (
    AlreadyWritten,
    DatabaseUnavailable,
    SchemaOutOfDate,
    StoreError,
    UnsupportedDatabase,
)
from forecaster.store.connection.urls import masked, redact

UPGRADE_HINT = "run `forecaster db upgrade`"

_DAMAGED_SQLITE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_BUSY_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BUSY_PG = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)
_TAKEN_SQLITE = {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}
_MISSING_PG = (pg.UndefinedTable, pg.UndefinedColumn)
_UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    pg.IdleInTransactionSessionTimeout,
    sqlite3.OperationalError,
    sqlite3.InterfaceError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Translation:
    """Which driver errors become which StoreError, with its message and hint."""

    kind: type[StoreError]
    message: str
    hint: str
    postgres: tuple[type[psycopg.Error], ...] = ()
    sqlite: frozenset[int] = frozenset()

    def covers(self, error: BaseException) -> bool:
        codes = {_sqlite_code(error), _extended_sqlite_code(error)}
        return isinstance(error, self.postgres) or not self.sqlite.isdisjoint(codes)


_TRANSLATIONS = (
    _Translation(
        kind=UnsupportedDatabase,
        message="not a valid SQLite database",
        hint="check the path, or restore the file from a backup",
        sqlite=frozenset(_DAMAGED_SQLITE),
    ),
    _Translation(
        kind=SchemaOutOfDate,
        message="schema is out of date",
        hint=UPGRADE_HINT,
        postgres=_MISSING_PG,
        sqlite=frozenset({sqlite3.SQLITE_ERROR}),
    ),
    _Translation(
        kind=DatabaseUnavailable,
        message="database is locked",
        hint="another process is writing; `forecaster serve` retries, or run the command again",
        postgres=_BUSY_PG,
        sqlite=frozenset(_BUSY_SQLITE),
    ),
    _Translation(
        kind=AlreadyWritten,
        message="duplicate key",
        hint="another process has just written the same rows; run the command again to skip them",
        postgres=(pg.UniqueViolation,),
        sqlite=frozenset(_TAKEN_SQLITE),
    ),
    _Translation(
        kind=DatabaseUnavailable,
        message="server is read-only",
        hint="after a failover, list all servers and target_session_attrs=read-write in "
        "database_url: the next attempt connects to the primary",
        postgres=(pg.ReadOnlySqlTransaction,),
    ),
    _Translation(
        kind=StoreError,
        message="disk full",
        hint="free disk space or raise the quota; shorten [retention] to store less",
        postgres=(pg.DiskFull,),
        sqlite=frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}),
    ),
    _Translation(
        kind=StoreError,
        message="out of memory",
        hint="give the database server more memory, or reduce its load",
        postgres=(pg.OutOfMemory,),
        sqlite=frozenset({sqlite3.SQLITE_NOMEM}),
    ),
    _Translation(
        kind=StoreError,
        message="permission denied",
        hint="grant the privilege to the user in database_url; `forecaster check --connect` lists "
        "what is missing",
        postgres=(pg.InsufficientPrivilege,),
        sqlite=frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}),
    ),
    _Translation(
        kind=StoreError,
        message="other objects depend on it",
        hint="drop the views of yours that it names, run `forecaster db upgrade`, and create them "
        "again",
        postgres=(pg.DependentObjectsStillExist,),
    ),
    _Translation(
        kind=DatabaseUnavailable,
        message="too many connections",
        hint="raise max_connections on the server, or use fewer clients",
        postgres=(pg.TooManyConnections,),
    ),
)


def translate(error: BaseException, url: URL) -> StoreError:
    """Return the StoreError for the driver's `error`.

    DatabaseUnavailable is safe to retry: the cause may be temporary.
    """
    address, reason = masked(url), describe(error, url)
    for known in _TRANSLATIONS:
        if known.covers(error):
            text = reason if known.message in reason.lower() else f"{known.message}: {reason}"
            return known.kind(f"{address}: {text}", hint=known.hint)
    if isinstance(error, _UNAVAILABLE) or _is_out_of_step(error):
        return DatabaseUnavailable(
            f"{address} does not answer: {reason}",
            hint="check that the database is running and that the URL is correct",
        )
    return StoreError(f"{address}: statement failed: {reason}")


def describe(error: BaseException, url: URL) -> str:
    """Return the driver's message on one line, without secrets."""
    text = str(error).removeprefix("connection failed: ")  # psycopg and libpq both say so
    lines = (line.strip() for line in text.splitlines())
    return redact("; ".join(line for line in lines if line), url)[:500]


def is_busy(error: BaseException | None) -> bool:
    """Return whether the error is a lock timeout, a deadlock or a serialization failure."""
    return isinstance(error, _BUSY_PG) or _sqlite_code(error) in _BUSY_SQLITE


def is_spent(error: BaseException | None) -> bool:
    """Return whether open connections must be discarded.

    The server became read-only, as after a failover, or a pooling proxy lost its session.
    """
    return isinstance(error, pg.ReadOnlySqlTransaction) or _is_out_of_step(error)


def is_bad_sqlite_statement(error: BaseException) -> bool:
    """Return whether SQLite rejected the statement: no such table or column, syntax error."""
    return _sqlite_code(error) == sqlite3.SQLITE_ERROR


def _is_out_of_step(error: BaseException | None) -> bool:
    """Return whether the protocol is out of sync: a driver error without an error of the server."""
    return type(error) is psycopg.InternalError and error.sqlstate is None


def _sqlite_code(error: BaseException | None) -> int | None:
    code = _extended_sqlite_code(error)
    return None if code is None else code & 0xFF


def _extended_sqlite_code(error: BaseException | None) -> int | None:
    """Return the extended result code, which distinguishes kinds of constraint failures."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code
