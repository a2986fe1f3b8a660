"""The greatest value of a column that grows, and the transactions that may still write a smaller.

Needs no privilege: every role can see the locks on virtual transaction ids.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from forecaster.errors import DataError
from forecaster.source import predicates
from forecaster.source.cursor import PREPARED, Position, SourceState

_POLLS, _POLL_SECONDS = 10, 0.1
"""A first pull waits a second for open transactions, so that it need not be repeated."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WHOLE = ("int2", "int4", "int8")

_OPEN = sa.text(
    "SELECT locks.virtualtransaction FROM pg_locks AS locks "
    "JOIN pg_stat_activity AS clients ON clients.pid = locks.pid "
    "WHERE locks.locktype = 'virtualxid' AND locks.pid <> pg_backend_pid() "
    "AND clients.usesysid IS NOT NULL "  # vacuum writes no rows
    "AND clients.datid = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    f"UNION ALL SELECT '{PREPARED}' || transaction FROM pg_prepared_xacts "
    "WHERE database = current_database()"
)
_CLUSTER = sa.text(
    "SELECT system_identifier || '/' || timeline_id "
    "FROM pg_control_system(), pg_control_checkpoint()"
)
_MAY_ASK = sa.text(
    "SELECT has_function_privilege('pg_control_system()', 'EXECUTE') "
    "AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE')"
)
_NEWEST = sa.text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
_IS_STANDBY = sa.text("SELECT pg_is_in_recovery()")


def read_state(
    conn: Connection, column: ColumnElement[Any], dataset: str, *, patient: bool
) -> SourceState:
    """Read the mark of `column`; a `patient` read waits a second for open transactions to end.

    DataError for a database or a type of column that is not supported.
    """
    match conn.dialect.name:
        case "sqlite":  # has one writer at a time
            return SourceState(
                column=column.key or "",
                cluster="",
                newest_transaction=0,
                open_before=frozenset(),
                position=_greatest(conn, column, column),
                open_after=frozenset(),
            )
        case "postgresql":
            return _read_postgres(conn, column, dataset, patient=patient)
        case other:
            raise _error(dataset, f"requires a PostgreSQL or SQLite source, found {other}")


def from_on(conn: Connection, column: ColumnElement[Any], after: Position) -> ColumnElement[bool]:
    """Return the condition that a row is at the position `after` or beyond it."""
    bound: ColumnElement[Any] = sa.literal(after)
    if conn.dialect.name == "postgresql":
        match _kind(conn, column):
            case "timestamptz":
                bound = sa.literal(_EPOCH + int(after) * _MICROSECOND, sa.TIMESTAMP(timezone=True))
            case "xid8":
                bound = sa.cast(sa.literal(str(after), sa.Text), _Xid8())
            case _:
                bound = sa.literal(after, sa.BigInteger)
    return column >= bound


class _Xid8(sa.types.UserDefinedType[int]):
    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        return "xid8"


def _read_postgres(
    conn: Connection, column: ColumnElement[Any], dataset: str, *, patient: bool
) -> SourceState:
    if conn.scalar(_IS_STANDBY):
        raise _error(dataset, "requires a primary server, found a standby")
    shown = _as_number(column, _kind(conn, column), dataset)
    before = _open_now(conn)
    position = _greatest(conn, column, shown)
    after = _open_now(conn)
    for _ in range(_POLLS if patient and after else 0):
        time.sleep(_POLL_SECONDS)
        now = _open_now(conn)
        if not any(name.startswith(PREPARED) for name in now - after):
            after &= now
        if not after:
            break
    return SourceState(
        column=column.key or "",
        cluster=str(conn.scalar(_CLUSTER)) if conn.scalar(_MAY_ASK) else "",
        newest_transaction=int(conn.scalar(_NEWEST)),
        open_before=before,
        position=position,
        open_after=after,
    )


def _as_number(column: ColumnElement[Any], kind: str | None, dataset: str) -> ColumnElement[Any]:
    """Return a column that grows as a whole number, instants as microseconds since 1970."""
    if kind in _WHOLE:
        return column
    if kind == "timestamptz":
        # A transaction takes its time some moments before it can be seen, and no row is from later.
        latest = sa.func.clock_timestamp() - sa.literal_column("interval '10 seconds'")
        seen = sa.func.least(column, latest)
        return sa.cast(sa.extract("epoch", seen) * 1_000_000, sa.BigInteger)
    if kind == "xid8":
        return sa.cast(sa.cast(column, sa.Text), sa.BigInteger)
    raise _error(dataset, f"must be of type bigint, timestamptz or xid8, found {kind}")


def _greatest(
    conn: Connection, column: ColumnElement[Any], shown: ColumnElement[Any]
) -> Position | None:
    query = sa.select(shown).where(column.is_not(None)).order_by(column.desc()).limit(1)
    value = conn.scalar(query)
    return value if value is None or isinstance(value, int | float | str) else int(value)


def _open_now(conn: Connection) -> frozenset[str]:
    return frozenset(conn.scalars(_OPEN))


def _kind(conn: Connection, column: ColumnElement[Any]) -> str | None:
    return predicates.declared_types(conn, sa.select(column))[0]


def _error(dataset: str, rule: str) -> DataError:
    return DataError(
        f"ingest_column of dataset {dataset} {rule}",
        hint=f"remove ingest_column from [datasets.{dataset}]: late rows are then found by "
        "late_data and reconcile_every",
    )
