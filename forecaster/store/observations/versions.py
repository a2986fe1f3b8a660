"""Observations and when they were recorded: all versions, for point-in-time reads."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl
from sqlalchemy import ColumnElement, Connection, Select, func, select

from forecaster.schemas import VERSIONS
from forecaster.store.connection.bulk import read_frame
from forecaster.store.observations import pg_arrays
from forecaster.store.state import datasets
from forecaster.store.tables import observations, series

_ROWS_AT_ONCE = 2_000_000
_SOME = 25
_GROWTH = 8
"""How many times as many series a block has at most as the one before."""


def read(
    conn: Connection,
    dataset: str,
    *,
    since: datetime,
    until: datetime,
    steps: int,
    schema: Mapping[str, pl.DataType] = VERSIONS,
) -> Iterator[pl.DataFrame]:
    """Return VERSIONS of the timestamps between `since` and `until`, both included, or only those
    of their columns that `schema` has.

    Of whole series, millions of rows at a time; `steps` is how many rows each has at least, as far
    as anybody knows. The first block is small, and shows how many there are.
    """
    ours = datasets.series_of(dataset).order_by(series.c.id)
    ids = conn.scalars(ours).all()
    limits = [observations.c.timestamp >= since, observations.c.timestamp <= until]
    first, at_once = 0, 1
    while first < len(ids):
        block = ids[first : first + at_once]
        owners = ours.where(series.c.id.between(block[0], block[-1]))
        rows = of_series(conn, owners, limits, schema)
        yield rows
        first += len(block)
        rows_per_series = max(1, steps, rows.height // len(block))
        at_once = max(1, min(_GROWTH * at_once, _ROWS_AT_ONCE // rows_per_series))


def of_some_series(
    conn: Connection, dataset: str, *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return VERSIONS of the timestamps between `since` and `until` of a few series, the oldest and
    the newest ones."""
    ids = conn.scalars(datasets.series_of(dataset).order_by(series.c.id)).all()
    some = select(series.c.id).where(series.c.id.in_({*ids[:_SOME], *ids[-_SOME:]}))
    limits = [observations.c.timestamp >= since, observations.c.timestamp <= until]
    return of_series(conn, some, limits)


def first_of_each_instant(
    conn: Connection, dataset: str, *, after: datetime, until: datetime
) -> pl.DataFrame:
    """Return VERSIONS: for each timestamp in (after, until] when a value of it was first ingested.

    They are those of no series, and without a value.
    """
    columns = (
        observations.c.timestamp,
        func.min(observations.c.recorded_at).label("recorded_at"),
    )
    query = (
        select(*columns)
        .where(
            observations.c.series_id.in_(datasets.series_of(dataset)),
            observations.c.timestamp > after,
            observations.c.timestamp <= until,
        )
        .group_by(observations.c.timestamp)
        .order_by(observations.c.timestamp)
    )
    schema = {column.name: VERSIONS[column.name] for column in columns}
    frame = read_frame(conn, query, schema).with_columns(series_id=0, value=None)
    return frame.select(VERSIONS.names()).cast(VERSIONS)


def next_instant(conn: Connection, dataset: str, after: datetime) -> datetime | None:
    """Return the first instant after `after` of which a value was ever ingested."""
    first = (
        select(func.min(observations.c.timestamp))
        .where(observations.c.series_id == series.c.id, observations.c.timestamp > after)
        .scalar_subquery()
    )
    of_each = datasets.series_of(dataset).with_only_columns(first.label("first")).subquery()
    instant: datetime | None = conn.scalar(select(func.min(of_each.c.first)))
    return instant


def newest_known(conn: Connection, dataset: str, at: datetime) -> datetime | None:
    """Return the newest instant of which a value had been ingested by `at`."""
    last = (
        select(observations.c.timestamp)
        .where(observations.c.series_id == series.c.id, observations.c.recorded_at <= at)
        .order_by(observations.c.timestamp.desc())
        .limit(1)
        .scalar_subquery()
    )
    of_each = datasets.series_of(dataset).with_only_columns(last.label("last")).subquery()
    instant: datetime | None = conn.scalar(select(func.max(of_each.c.last)))
    return instant


def of_series(
    conn: Connection,
    owners: Select[int],
    limits: Sequence[ColumnElement[bool]],
    schema: Mapping[str, pl.DataType] = VERSIONS,
) -> pl.DataFrame:
    """Return VERSIONS of the series in `owners`, or only those of their columns that `schema` has;
    sorted on SQLite, on PostgreSQL within each series."""
    if conn.dialect.name == "postgresql":
        return pg_arrays.read(conn, owners, limits, schema)
    query = (
        select(*(observations.c[name] for name in schema))
        .where(observations.c.series_id.in_(owners.order_by(None)), *limits)
        .order_by(*(observations.c[name] for name in ("series_id", "timestamp", "recorded_at")))
    )
    return read_frame(conn, query, schema)
