"""Partitions by cutoff on PostgreSQL: made before rows need them, dropped when all are old.

Bounds are multiples of a width that follows from how long a table keeps its rows, counted from
one origin, so that widths of other times nest; a partition that is there is respected. SQLite
has none: nothing is made and nothing dropped.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg.errors import UndefinedTable
from sqlalchemy import Connection, Engine, func, select, text

from forecaster.config.settings import RetentionConfig
from forecaster.errors import StoreError
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.errors import is_busy

PARTITIONED = ("forecasts", "attention", "accuracy")

_ORIGIN = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday: whole weeks begin where people expect it
_DAY = timedelta(days=1)
_AHEAD = 3
_AT_ONCE = 20
"""Partitions that one transaction makes: each of them takes locks."""
_PARTITION_LOCK = 0x666F7265636174  # any number, the same for every process that changes partitions

_IN_LINE = "toast_tuple_target = 8160"
"""Arrays are kept in the row up to a page, where they are read without another descent."""

_RETRY_SECONDS = 30.0
_LOCK_TIMEOUT = "1s"
"""How long new readers and writers may have to queue behind one attempt to drop a partition."""
_PAUSE_SECONDS = 5.0
_SMALL_BYTES = 16 * 2**20

_BOUND = r"substring(pg_get_expr(c.relpartbound, c.oid) FROM '{} \(''([^'']+)''\)')::timestamptz"
_PARTITIONS = text(
    f"""SELECT c.relname AS name, {_BOUND.format("FROM")} AS lower, {_BOUND.format("TO")} AS upper
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST(:parent AS regclass)""".replace("::", r"\:\:")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The rows with a cutoff from `lower` on and before `upper`; None is without end."""

    name: str
    lower: datetime | None
    upper: datetime | None

    def covers(self, cutoff: datetime) -> bool:
        """Return whether rows of this cutoff belong here."""
        return (self.lower is None or self.lower <= cutoff) and (
            self.upper is None or cutoff < self.upper
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What went; rows of large partitions are the estimate of the database's statistics."""

    rows: int
    partitions: int
    busy: int
    """1 if a partition stayed in use: it was kept, and those after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Rows: counted where the table is small or was never looked at, else by statistics."""

    rows: int
    is_exact: bool


def width(keep: timedelta | None) -> timedelta:
    """Return how much time one partition covers when rows are kept for `keep`, None for ever."""
    if keep is None or keep > timedelta(days=366):
        return 28 * _DAY
    return 7 * _DAY if keep > timedelta(days=31) else _DAY


def ensure(
    engine: Engine, retention: RetentionConfig, tables: Sequence[str], cutoffs: Iterable[datetime]
) -> int:
    """Make the partitions of `tables` that rows of `cutoffs` need; return how many were missing.

    To be called before the transaction that writes. Takes short ones of its own, which block
    neither readers nor writers of other partitions; concurrent callers wait for each other.
    """
    wanted = sorted(set(cutoffs))
    if engine.dialect.name != "postgresql":
        return 0
    with reading(engine) as conn:
        missing = [table for table in tables if _uncovered(read(conn, table), wanted)]
    return sum(made for table in missing for made in _make(engine, table, retention, wanted))


def narrowest(retention: RetentionConfig, tables: Sequence[str]) -> timedelta:
    """Return how much time the shortest partitions of `tables` cover."""
    return min(_width_of(retention, table) for table in tables)


def make_ahead(engine: Engine, retention: RetentionConfig, now: datetime) -> int:
    """Make the partition of `now` and the next few of every table; return how many were missing."""
    return sum(
        ensure(engine, retention, [table], [now + i * width for i in range(_AHEAD + 1)])
        for table in PARTITIONED
        for width in [_width_of(retention, table)]
    )


def drop_before(
    engine: Engine, limits: Mapping[str, datetime], *, timeout: float = _RETRY_SECONDS
) -> dict[str, Dropped]:
    """Drop the partitions of each table that end at its limit or earlier; return what was dropped.

    Each goes in a transaction of its own. Those in use are waited for, in all for `timeout`
    seconds; one that stays in use ends the work on its table until the next time. The rows are of
    all datasets.
    """
    if engine.dialect.name != "postgresql":
        return dict.fromkeys(limits, Dropped(rows=0, partitions=0, busy=0))
    until = time.monotonic() + timeout
    return {table: _drop_expired(engine, table, before, until) for table, before in limits.items()}


def read(conn: Connection, table: str) -> list[Partition]:
    """Return the partitions of a table, from the oldest on."""
    partitions = [Partition(**row._mapping) for row in conn.execute(_PARTITIONS, {"parent": table})]
    return sorted(
        partitions, key=lambda partition: partition.lower or datetime.min.replace(tzinfo=UTC)
    )


def count(conn: Connection, name: str) -> Count:
    """Count the rows of one partition or table."""
    quoted = conn.dialect.identifier_preparer.quote(name)
    size, estimate = conn.execute(
        text("SELECT pg_relation_size(oid), reltuples FROM pg_class WHERE oid = :table ::regclass"),
        {"table": quoted},
    ).one()
    if size > _SMALL_BYTES and estimate >= 0:
        return Count(rows=int(estimate), is_exact=False)
    rows = conn.exec_driver_sql(f"SELECT count(*) FROM {quoted}").scalar_one()
    return Count(rows=int(rows), is_exact=True)


def lock_partitions(conn: Connection) -> None:
    """Wait until no other transaction changes partitions, and keep others waiting until the end."""
    conn.execute(select(func.pg_advisory_xact_lock(_PARTITION_LOCK)))


def _width_of(retention: RetentionConfig, table: str) -> timedelta:
    keep: timedelta | None = getattr(retention, table)
    return width(keep)


def _uncovered(partitions: Sequence[Partition], cutoffs: Iterable[datetime]) -> list[datetime]:
    return [
        cutoff
        for cutoff in cutoffs
        if not any(partition.covers(cutoff) for partition in partitions)
    ]


def _make(
    engine: Engine, table: str, retention: RetentionConfig, cutoffs: Sequence[datetime]
) -> Iterator[int]:
    """Make what is missing, some partitions in each transaction; return how many."""
    made = _AT_ONCE
    while made == _AT_ONCE:
        with writing(engine) as conn:
            lock_partitions(conn)
            made = _create(conn, table, _width_of(retention, table), cutoffs)
        yield made


def _create(conn: Connection, table: str, width: timedelta, cutoffs: Iterable[datetime]) -> int:
    """Make what is missing, one partition after the other, until they are _AT_ONCE."""
    partitions = read(conn, table)
    before = len(partitions)
    for cutoff in cutoffs:
        if len(partitions) - before == _AT_ONCE:
            break
        if _uncovered(partitions, [cutoff]):
            partitions.append(partition_for(table, partitions, cutoff, width))
            _attach(conn, table, partitions[-1])
    return len(partitions) - before


def partition_for(
    table: str, partitions: Sequence[Partition], cutoff: datetime, width: timedelta
) -> Partition:
    """Return the partition around `cutoff`, clipped to the gap between those that are there."""
    lower = _ORIGIN + (cutoff - _ORIGIN) // width * width
    upper = lower + width
    ends = [part.upper for part in partitions if part.upper is not None and part.upper <= cutoff]
    starts = [part.lower for part in partitions if part.lower is not None and part.lower > cutoff]
    lower, upper = max([lower, *ends]), min([upper, *starts])
    suffix = f"{lower:%Y%m%dT%H%M%S%f}".lower().removesuffix("t000000000000")
    return Partition(name=f"{table}_{suffix}", lower=lower, upper=upper)


def _attach(conn: Connection, table: str, partition: Partition) -> None:
    """Add an empty table: a weaker lock on its parent than CREATE TABLE … PARTITION OF takes."""
    quote = conn.dialect.identifier_preparer.quote
    name = quote(partition.name)
    for statement in (
        f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH ({_IN_LINE})",
        f"ALTER TABLE {table} ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{partition.lower}') TO ('{partition.upper}')",
    ):
        conn.exec_driver_sql(statement)


def _drop_expired(engine: Engine, table: str, before: datetime, until: float) -> Dropped:
    with reading(engine) as conn:
        expired = [part for part in read(conn, table) if part.upper and part.upper <= before]
    rows = dropped = 0
    for partition in expired:
        try:
            rows += _drop_with_retries(engine, partition.name, until)
        except StoreError as error:
            if is_busy(error.__cause__):
                return Dropped(rows=rows, partitions=dropped, busy=1)
            if not isinstance(error.__cause__, UndefinedTable):
                raise  # otherwise another process has dropped it
        else:
            dropped += 1
    return Dropped(rows=rows, partitions=dropped, busy=0)


def _drop_with_retries(engine: Engine, name: str, until: float) -> int:
    """Drop one partition as soon as its table is not in use; return how many rows it had."""
    while True:
        try:
            return _drop(engine, name)
        except StoreError as error:
            if not is_busy(error.__cause__) or time.monotonic() + _PAUSE_SECONDS > until:
                raise
        time.sleep(_PAUSE_SECONDS)


def _drop(engine: Engine, name: str) -> int:
    with reading(engine) as conn:
        rows = count(conn, name).rows  # may take long: do it before taking locks
    with writing(engine) as conn:
        lock_partitions(conn)
        conn.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        conn.exec_driver_sql(f"DROP TABLE {conn.dialect.identifier_preparer.quote(name)}")
    return rows
