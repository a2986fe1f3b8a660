"""What goes wrong in a database, said as StoreErrors: with a hint and without secrets."""

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
class _Meaning:
    """What an error says about the database at an address, and what helps."""

    kind: type[StoreError]
    says: str
    hint: str
    postgres: tuple[type[psycopg.Error], ...] = ()
    sqlite: frozenset[int] = frozenset()

    def covers(self, error: BaseException) -> bool:
        codes = {_sqlite_code(error), _extended_sqlite_code(error)}
        return isinstance(error, self.postgres) or not self.sqlite.isdisjoint(codes)


_MEANINGS = (
    _Meaning(
        kind=UnsupportedDatabase,
        says="must be a sound sqlite database, found",
        hint="check the path, or restore the file from a backup",
        sqlite=frozenset(_DAMAGED_SQLITE),
    ),
    _Meaning(
        kind=SchemaOutOfDate,
        says="must have the newest schema, found",
        hint=UPGRADE_HINT,
        postgres=_MISSING_PG,
        sqlite=frozenset({sqlite3.SQLITE_ERROR}),
    ),
    _Meaning(
        kind=DatabaseUnavailable,
        says="must be free, found it locked",
        hint="another job is writing: `forecaster serve` tries again, so does a second run",
        postgres=_BUSY_PG,
        sqlite=frozenset(_BUSY_SQLITE),
    ),
    _Meaning(
        kind=AlreadyWritten,
        says="must have no row of this key, found one",
        hint="somebody else has just written the same; a second run leaves that as it is",
        postgres=(pg.UniqueViolation,),
        sqlite=frozenset(_TAKEN_SQLITE),
    ),
    _Meaning(
        kind=DatabaseUnavailable,
        says="must take what is written, found a server that only reads",
        hint="after a failover name all servers and target_session_attrs=read-write in "
        "database_url: the next attempt looks for the one that leads",
        postgres=(pg.ReadOnlySqlTransaction,),
    ),
    _Meaning(
        kind=StoreError,
        says="must have room on its disk, found none",
        hint="free some space or raise the limit; shorter times in [retention] keep it free",
        postgres=(pg.DiskFull,),
        sqlite=frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}),
    ),
    _Meaning(
        kind=StoreError,
        says="must have memory for a statement, found too little",
        hint="give the machine of the database more memory, or run less beside it",
        postgres=(pg.OutOfMemory,),
        sqlite=frozenset({sqlite3.SQLITE_NOMEM}),
    ),
    _Meaning(
        kind=StoreError,
        says="must let us do our work, found a permission missing",
        hint="grant it to the user of database_url; `forecaster check --connect` tells what is "
        "missing",
        postgres=(pg.InsufficientPrivilege,),
        sqlite=frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}),
    ),
    _Meaning(
        kind=DatabaseUnavailable,
        says="must have a session left for us, found them all taken",
        hint="raise max_connections there, or let fewer programs connect",
        postgres=(pg.TooManyConnections,),
    ),
)


def translate(error: BaseException, url: URL) -> StoreError:
    """Return the StoreError that says what the driver's `error` means to a user.

    DatabaseUnavailable is safe to retry: nothing is known to be wrong that would stay so.
    """
    address, reason = masked(url), describe(error, url)
    for meaning in _MEANINGS:
        if meaning.covers(error):
            return meaning.kind(f"{address} {meaning.says}: {reason}", hint=meaning.hint)
    if isinstance(error, _UNAVAILABLE) or _is_out_of_step(error):
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


def is_spent(error: BaseException | None) -> bool:
    """Tell whether connections are of no use any more, though they are still open.

    The server takes no writes now, as after a failover, or a pooling proxy lost its session.
    """
    return isinstance(error, pg.ReadOnlySqlTransaction) or _is_out_of_step(error)


def is_bad_sqlite_statement(error: BaseException) -> bool:
    """Tell whether SQLite did not understand the statement: no such table or column, syntax."""
    return _sqlite_code(error) == sqlite3.SQLITE_ERROR


def _is_out_of_step(error: BaseException | None) -> bool:
    """Tell whether the driver met an answer to something else; the server has said no error."""
    return type(error) is psycopg.InternalError and error.sqlstate is None


def _sqlite_code(error: BaseException | None) -> int | None:
    code = _extended_sqlite_code(error)
    return None if code is None else code & 0xFF


def _extended_sqlite_code(error: BaseException | None) -> int | None:
    """Return what also tells one kind of a failure from the others, as of constraints."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code
