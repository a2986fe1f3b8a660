"""What happened, as versions: a correction is a new row, nothing is overwritten."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from forecaster.errors import SchemaMismatch
from forecaster.frames import INSTANT, OBSERVATIONS, conform
from forecaster.store import datasets, tables
from forecaster.store.bulk import insert_frame, read_frame
from forecaster.store.datasets import Landed
from forecaster.store.tables import observations

CELLS = pl.Schema({"series_id": pl.Int32(), "timestamp": INSTANT, "value": pl.Float64()})
"""Observations under the integer keys of their series, sorted by both; a null takes one back."""

_KEY = ["series_id", "timestamp"]
_VERSIONS = {**CELLS, "recorded_at": INSTANT}
_MICROSECOND = timedelta(microseconds=1)
_ROWS_AT_ONCE = 2_000_000
_PROBES_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What became of landed rows; a null for an instant never seen is unchanged."""

    new: int = 0
    corrected: int = 0
    unchanged: int = 0
    changes: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=CELLS), compare=False, repr=False
    )
    """CELLS that are new or corrected."""
    before: datetime | None = None
    """What `datasets.landed_at` was; whoever knew everything up to then needs only `changes`."""
    recorded_at: datetime | None = None
    """What it is now."""


def land(conn: Connection, dataset: str, frame: pl.DataFrame, *, recorded_at: datetime) -> Landing:
    """Store the OBSERVATIONS that are new or changed; landing rows twice changes nothing.

    A changed value, or a null in place of one, becomes a version. All of them are recorded at
    `recorded_at`, or just after the last landing of the dataset if that one is not older.
    """
    conform(frame, OBSERVATIONS)
    if frame.is_empty():
        return Landing()
    reached = datasets.lock(conn, dataset)
    newest_id = datasets.newest_id(conn, dataset)
    incoming = datasets.with_ids(conn, dataset, frame).sort(_KEY)
    _require_unique(incoming)
    is_unseen = pl.col("series_id") > newest_id
    if reached.newest_observation is not None:
        is_unseen |= pl.col("timestamp") > reached.newest_observation
    unseen, compared = incoming.filter(is_unseen), _beside_stored(conn, incoming.filter(~is_unseen))
    is_known = pl.col("stored").is_not_null()
    is_new = ~is_known & pl.col("value").is_not_null()
    is_changed = is_known & pl.col("value").ne_missing(pl.col("value_stored"))
    new = pl.concat([unseen.drop_nulls("value"), compared.filter(is_new).select(CELLS.names())])
    changed = compared.filter(is_changed).select(CELLS.names())
    changes = pl.concat([new, changed]).sort(_KEY)
    return Landing(
        new=new.height,
        corrected=changed.height,
        unchanged=frame.height - changes.height,
        changes=changes,
        before=reached.landed_at,
        recorded_at=_append(conn, dataset, changes, reached, recorded_at),
    )


def _append(
    conn: Connection, dataset: str, changes: pl.DataFrame, reached: Landed, now: datetime
) -> datetime | None:
    """Write versions, all recorded at one instant after those of every landing before."""
    if changes.is_empty():
        return reached.landed_at
    at = now if reached.landed_at is None else max(now, reached.landed_at + _MICROSECOND)
    insert_frame(conn, observations, changes.with_columns(recorded_at=pl.lit(at, dtype=INSTANT)))
    last = changes["timestamp"].max()
    assert isinstance(last, datetime)
    newest = max(last, reached.newest_observation or last)
    datasets.set_landed(conn, dataset, Landed(landed_at=at, newest_observation=newest))
    return at


def read(
    conn: Connection,
    dataset: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    as_of: datetime | None = None,
    series: str | None = None,
) -> pl.DataFrame:
    """Return the OBSERVATIONS between `since` and `until`, both included, without gaps.

    With `as_of`: as they were known at that instant. With `series`: of that one only.
    """
    found = _newest(conn, datasets.series_of(dataset, series), since, until, as_of)
    keys = datasets.keys(conn, dataset)
    named = found.join(keys, left_on="series_id", right_on="id", maintain_order="left")
    if not named["rank"].is_sorted():
        named = named.sort("rank", "timestamp")
    return conform(
        named.select(pl.col("key").alias("series_id"), "timestamp", "value"), OBSERVATIONS
    )


def read_cells(
    conn: Connection, dataset: str, *, since: datetime, until: datetime, steps: int
) -> Iterator[pl.DataFrame]:
    """Return CELLS between `since` and `until` of whole series, millions of rows at a time.

    `steps` is about how many rows each series has in that time.
    """
    series = tables.series
    ours = datasets.series_of(dataset).order_by(series.c.id)
    ids = conn.scalars(ours).all()
    at_once = max(1, _ROWS_AT_ONCE // max(1, steps))
    for first in range(0, len(ids), at_once):
        block = ids[first : first + at_once]
        yield _newest(conn, ours.where(series.c.id.between(block[0], block[-1])), since, until)


def read_some_cells(
    conn: Connection, ids: Sequence[int], *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return CELLS of a few series."""
    return _newest(
        conn, select(tables.series.c.id).where(tables.series.c.id.in_(ids)), since, until
    )


def span(conn: Connection, dataset: str) -> tuple[datetime, datetime] | None:
    """Return the first and the last instant that was ever observed; None before any."""
    ends = [
        select(end(observations.c.timestamp))
        .where(observations.c.series_id == tables.series.c.id)
        .scalar_subquery()
        for end in (func.min, func.max)
    ]
    per_series = (
        select(ends[0].label("first"), ends[1].label("last"))
        .where(tables.series.c.id.in_(datasets.series_of(dataset)))
        .subquery()
    )
    first, last = conn.execute(
        select(func.min(per_series.c.first), func.max(per_series.c.last))
    ).one()
    return None if first is None else (first, last)


def _newest(
    conn: Connection,
    owners: Select[int],
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """Return CELLS of the series in `owners`: the newest version of each row, and no nulls.

    Versions of one row come one after the other, so the last of them is told by its neighbour.
    """
    limits = [
        *([] if since is None else [observations.c.timestamp >= since]),
        *([] if until is None else [observations.c.timestamp <= until]),
        *([] if as_of is None else [observations.c.recorded_at <= as_of]),
    ]
    query = _seek_each if conn.dialect.name == "postgresql" else _seek_all
    found = read_frame(conn, query(owners, limits), CELLS)
    keys = found.select(_KEY)
    if not keys.select(_is_ascending()).item():
        found = found.sort(_KEY, maintain_order=True)
    is_last = pl.any_horizontal(pl.col(name) != pl.col(name).shift(-1) for name in _KEY)
    return found.filter(is_last.fill_null(value=True)).drop_nulls("value")


def _seek_each(owners: Select[int], limits: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """One descent of the index for each series, however many rows lie outside of the limits.

    OFFSET keeps the planner from making one scan of it, which would read them all.
    """
    owner = owners.subquery()
    rows = (
        select(*(observations.c[name] for name in CELLS))
        .where(observations.c.series_id == owner.c.id, *limits)
        .order_by(observations.c.timestamp, observations.c.recorded_at)
        .offset(0)
        .lateral()
    )
    return select(*rows.c).select_from(owner.join(rows, sa.true()))


def _seek_all(owners: Select[int], limits: Sequence[ColumnElement[bool]]) -> Select[Any]:
    return (
        select(*(observations.c[name] for name in CELLS))
        .where(observations.c.series_id.in_(owners.order_by(None)), *limits)
        .order_by(*(observations.c[name] for name in (*_KEY, "recorded_at")))
    )


def _is_ascending() -> pl.Expr:
    """Whether rows are sorted by series and timestamp."""
    series, stamp = (pl.col(name) for name in _KEY)
    later = (series.shift() < series) | ((series.shift() == series) & (stamp.shift() <= stamp))
    return later.all()


def _beside_stored(conn: Connection, incoming: pl.DataFrame) -> pl.DataFrame:
    """Return `incoming` beside the newest stored version of each row: one probe for each."""
    parts = incoming.iter_slices(_PROBES_AT_ONCE)
    stored = [read_frame(conn, _probe(conn, part), _VERSIONS) for part in parts]
    newest = (
        pl.concat([pl.DataFrame(schema=_VERSIONS), *stored])
        .sort(*_KEY, "recorded_at")
        .unique(_KEY, keep="last", maintain_order=True)
        .with_columns(stored=True)
    )
    return incoming.join(newest, on=_KEY, how="left", suffix="_stored")


def _probe(conn: Connection, part: pl.DataFrame) -> Select[Any]:
    """Select the stored versions of the rows in `part`, whatever the planner thinks of it."""
    ids, stamps = part["series_id"].to_list(), part["timestamp"].to_physical().to_list()
    columns = [observations.c[name] for name in _VERSIONS]
    if conn.dialect.name == "postgresql":
        return _probe_postgresql(columns, ids, stamps)
    rows = sa.func.json_each(json.dumps([*zip(ids, stamps, strict=True)])).table_valued("value")
    wanted = select(*(sa.func.json_extract(rows.c.value, f"$[{place}]") for place in (0, 1)))
    key = sa.tuple_(observations.c.series_id, sa.type_coerce(observations.c.timestamp, sa.Integer))
    return select(*columns).where(key.in_(wanted))


def _probe_postgresql(
    columns: list[sa.Column[Any]], ids: list[int], stamps: list[int]
) -> Select[Any]:
    """LIMIT keeps the planner from reading the whole table because many rows are wanted."""
    arrays = (
        sa.bindparam(None, found, ARRAY(kind))
        for found, kind in ((ids, sa.Integer), (stamps, sa.BigInteger))
    )
    wanted = sa.func.unnest(*arrays).table_valued("series_id", "microseconds").render_derived()
    since_epoch = wanted.c.microseconds * sa.literal_column("interval '1 microsecond'")
    newest = (
        select(*columns)
        .where(
            observations.c.series_id == wanted.c.series_id,
            observations.c.timestamp == sa.literal_column("timestamptz 'epoch'") + since_epoch,
        )
        .order_by(observations.c.recorded_at.desc())
        .limit(1)
        .lateral()
    )
    return select(*newest.c).select_from(wanted.join(newest, sa.true()))


def _require_unique(ordered: pl.DataFrame) -> None:
    is_repeated = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in _KEY)
    repeated = ordered.select(is_repeated.sum()).item()
    if repeated:
        raise SchemaMismatch(
            f"observations must be unique by series_id and timestamp, found {repeated} repeated"
        )
