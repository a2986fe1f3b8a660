"""What happened, as versions: a correction is a new row, nothing is overwritten."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, Connection, Select, delete, func, select

from forecaster.errors import SchemaMismatch
from forecaster.frames import INSTANT, OBSERVATIONS, conform
from forecaster.store import datasets, tables
from forecaster.store.bulk import insert_frame, read_frame
from forecaster.store.tables import observations

_KEY = ["series_id", "timestamp"]
_ROW = {"series_id": pl.Int32(), "timestamp": INSTANT, "value": pl.Float64()}
_VERSIONS = {**_ROW, "recorded_at": INSTANT}
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingCounts:
    """What became of landed rows; a null for an instant never seen is unchanged."""

    new: int
    corrected: int
    unchanged: int


def land(
    conn: Connection, dataset: str, frame: pl.DataFrame, *, recorded_at: datetime
) -> LandingCounts:
    """Store the OBSERVATIONS that are new or changed; landing rows twice changes nothing.

    A changed value, or a null in place of one, becomes a version recorded at `recorded_at`, or
    just after the version it replaces if that one is not older.
    """
    conform(frame, OBSERVATIONS)
    if frame.is_empty():
        return LandingCounts(new=0, corrected=0, unchanged=0)
    _require_unique(frame)
    datasets.lock(conn, dataset)
    incoming = datasets.with_ids(conn, dataset, frame)
    stored = read_frame(conn, _stored_beside(dataset, incoming), _VERSIONS)
    compared = incoming.join(
        stored.with_columns(stored=True), on=_KEY, how="left", suffix="_stored"
    )
    is_known = pl.col("stored").is_not_null()
    new = compared.filter(~is_known & pl.col("value").is_not_null())
    changed = compared.filter(is_known & pl.col("value").ne_missing(pl.col("value_stored")))
    at = pl.lit(recorded_at, dtype=INSTANT)
    _insert(conn, new, at)
    _insert(conn, changed, pl.max_horizontal(at, pl.col("recorded_at") + _MICROSECOND))
    return LandingCounts(
        new=new.height,
        corrected=changed.height,
        unchanged=frame.height - new.height - changed.height,
    )


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
    query = select(*(observations.c[name] for name in _ROW)).where(
        observations.c.series_id.in_(datasets.series_of(dataset, series)),
        observations.c.value.is_not(None),
        *_between(since, until),
        _is_newest(as_of),
    )
    found = read_frame(conn, query, _ROW)
    keys = datasets.keys(conn, dataset)
    named = found.join(keys, left_on="series_id", right_on="id").sort("rank", "timestamp")
    return conform(
        named.select(pl.col("key").alias("series_id"), "timestamp", "value"), OBSERVATIONS
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


def delete_before(conn: Connection, dataset: str, before: datetime) -> int:
    """Delete all versions of observations earlier than `before`; return how many."""
    return conn.execute(
        delete(observations).where(
            observations.c.series_id.in_(datasets.series_of(dataset)),
            observations.c.timestamp < before,
        )
    ).rowcount


def _is_newest(as_of: datetime | None) -> ColumnElement[bool]:
    """Return the condition that a row is the newest version, or was at `as_of`."""
    newer = observations.alias("newer")
    query = select(newer.c.series_id).where(
        newer.c.series_id == observations.c.series_id,
        newer.c.timestamp == observations.c.timestamp,
        newer.c.recorded_at > observations.c.recorded_at,
    )
    if as_of is None:
        return ~query.exists()
    return (observations.c.recorded_at <= as_of) & ~query.where(
        newer.c.recorded_at <= as_of
    ).exists()


def _between(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    lower = [] if since is None else [observations.c.timestamp >= since]
    upper = [] if until is None else [observations.c.timestamp <= until]
    return lower + upper


def _stored_beside(dataset: str, incoming: pl.DataFrame) -> Select[Any]:
    """Select the newest versions in the range of `incoming`: more than its rows, in few probes."""
    ids, timestamps = incoming["series_id"], incoming["timestamp"]
    return select(*(observations.c[name] for name in _VERSIONS)).where(
        observations.c.series_id.in_(datasets.series_of(dataset)),
        observations.c.series_id.between(ids.min(), ids.max()),
        observations.c.timestamp.between(timestamps.min(), timestamps.max()),
        _is_newest(None),
    )


def _require_unique(frame: pl.DataFrame) -> None:
    repeated = frame.height - frame.select(pl.struct(_KEY).n_unique()).item()
    if repeated:
        raise SchemaMismatch(
            f"observations must be unique by series_id and timestamp, found {repeated} repeated"
        )


def _insert(conn: Connection, frame: pl.DataFrame, recorded_at: pl.Expr) -> None:
    rows = frame.select(*_KEY, "value", recorded_at=recorded_at)
    insert_frame(conn, observations, rows)
