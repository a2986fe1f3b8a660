"""What goes wrong in a database, said as StoreErrors: with a hint and without secrets."""

import sqlite3

import psycopg
from psycopg import errors as pg
from sqlalchemy import URL

from forecaster.errors import (
    DatabaseUnavailable,
    SchemaOutOfDate,
    StoreError,
    UnsupportedDatabase,
)
from forecaster.store.urls import masked, redact

UPGRADE_HINT = "run `forecaster db upgrade`"

_DAMAGED_SQLITE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_BUSY_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BUSY_PG = (pg.LockNotAvailable, pg.DeadlockDetected)
_MISSING_PG = (pg.UndefinedTable, pg.UndefinedColumn)
_UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sqlite3.OperationalError,
    sqlite3.InterfaceError,
)


def translate(error: BaseException, url: URL) -> StoreError:
    """Return the StoreError that says what the driver's `error` means to a user."""
    address, reason = masked(url), describe(error, url)
    if is_sqlite_damage(error):
        return UnsupportedDatabase(
            f"{address} must be a sound sqlite database, found: {reason}",
            hint="check the path, or restore the file from a backup",
        )
    if isinstance(error, _MISSING_PG) or is_bad_sqlite_statement(error):
        return SchemaOutOfDate(
            f"{address} must have the newest schema, found: {reason}", hint=UPGRADE_HINT
        )
    if is_busy(error):
        return DatabaseUnavailable(
            f"{address} must be free, found it locked: {reason}",
            hint="another job is writing: `forecaster serve` tries again, so does a second run",
        )
    if isinstance(error, _UNAVAILABLE):
        return DatabaseUnavailable(
            f"{address} must answer, found: {reason}",
            hint="check that the database runs and that the address is right",
        )
    return StoreError(f"{address} refused a statement: {reason}")


def describe(error: BaseException, url: URL) -> str:
    """Return the driver's message on one line, without secrets."""
    lines = (line.strip() for line in str(error).splitlines())
    return redact("; ".join(line for line in lines if line), url)[:500]


def is_busy(error: BaseException | None) -> bool:
    """Tell whether the database answers, but somebody else held for too long what is needed."""
    return isinstance(error, _BUSY_PG) or _sqlite_code(error) in _BUSY_SQLITE


def is_bad_sqlite_statement(error: BaseException) -> bool:
    """Tell whether SQLite did not understand the statement: no such table or column, syntax."""
    return _sqlite_code(error) == sqlite3.SQLITE_ERROR


def is_sqlite_damage(error: BaseException) -> bool:
    """Tell whether the file is no SQLite database, or a broken one."""
    return _sqlite_code(error) in _DAMAGED_SQLITE


def _sqlite_code(error: BaseException | None) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF  # the rest says more than we need
