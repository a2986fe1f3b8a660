"""Observations as versions: a correction is a new row, nothing is overwritten."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, Select, delete, func, select, update

from forecaster.errors import SchemaMismatch
from forecaster.schemas import INSTANT, OBSERVATIONS, conform
from forecaster.store import tables
from forecaster.store.connection.bulk import insert_frame
from forecaster.store.observations import lookup, versions
from forecaster.store.observations.lookup import CELLS
from forecaster.store.state import datasets
from forecaster.store.state.datasets import IngestState
from forecaster.store.tables import observations

TIED = pl.Schema({**CELLS, "value_stored": pl.Float64(), "recorded_at": INSTANT})
"""CELLS beside the version that they contradict."""

_KEY = ["series_id", "timestamp"]
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """The result of an ingestion; a null for a timestamp never seen is unchanged."""

    new: int = 0
    corrected: int = 0
    unchanged: int = 0
    without: int = 0
    """Those of them that are null for an instant never seen: they bring nothing."""
    changes: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=CELLS), compare=False, repr=False
    )
    """CELLS that are new or corrected."""
    added: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=CELLS), compare=False, repr=False
    )
    """Those of them that are new."""
    tied: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=TIED), compare=False, repr=False
    )
    """Rows that contradict an earlier row of the same batch; not stored."""
    before: datetime | None = None
    """`datasets.landed_at` before; a reader that is current up to then needs only `changes`."""
    recorded_at: datetime | None = None
    """`datasets.landed_at` after."""


def ingest(
    conn: Connection,
    dataset: str,
    frame: pl.DataFrame,
    *,
    recorded_at: datetime,
    batch: Collection[datetime] = (),
) -> IngestResult:
    """Store the OBSERVATIONS that are new or changed; ingesting rows twice changes nothing.

    A changed value, or a null in place of one, becomes a version. All of them are recorded at
    `recorded_at`, or just after the last ingestion of the dataset if that is not older. Rows that
    differ from a version recorded in `batch`, by ingestions of the same batch, are not stored: they
    are `tied`.
    """
    conform(frame, OBSERVATIONS)
    if frame.is_empty():
        return IngestResult()
    state = datasets.lock(conn, dataset)
    newest_id = datasets.newest_id(conn, dataset)
    incoming = lookup.in_order(datasets.with_ids(conn, dataset, frame), *_KEY)
    _require_unique(incoming)
    is_unseen = pl.col("series_id") > newest_id
    if state.newest_observation is not None:
        is_unseen |= pl.col("timestamp") > state.newest_observation
    unseen = incoming.filter(is_unseen)
    compared = lookup.with_stored(conn, incoming.filter(~is_unseen))
    is_known = pl.col("stored").is_not_null()
    is_new = ~is_known & pl.col("value").is_not_null()
    is_changed = is_known & pl.col("value").ne_missing(pl.col("value_stored"))
    new = pl.concat([unseen.drop_nulls("value"), compared.filter(is_new).select(CELLS.names())])
    is_tied = is_changed & pl.col("recorded_at").is_in(list(batch))
    changed = compared.filter(is_changed & ~is_tied).select(CELLS.names())
    changes = pl.concat([new, changed]).sort(_KEY)
    return IngestResult(
        new=new.height,
        corrected=changed.height,
        unchanged=frame.height - changes.height,
        without=unseen["value"].null_count() + compared.filter(~is_known)["value"].null_count(),
        changes=changes,
        added=new,
        tied=compared.filter(is_tied).select(TIED.names()),
        before=state.landed_at,
        recorded_at=_append(conn, dataset, changes, state, recorded_at),
    )


def differing(conn: Connection, dataset: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the OBSERVATIONS of `frame` whose ingestion may change something, in their order.

    Left out are those whose newest version has the same value, and nulls where a series has none.
    Nothing is locked: a long history is compared without keeping a writer waiting.
    """
    newest = datasets.ingest_state(conn, dataset).newest_observation
    if newest is None:
        return frame
    rows = frame.with_columns(
        datasets.known_ids(conn, dataset, frame["series_id"]).alias("series_id")
    )
    known = rows.with_row_index("row").filter(
        pl.col("series_id").is_not_null(), pl.col("timestamp") <= newest
    )
    compared = lookup.with_stored(conn, lookup.in_order(known, *_KEY))
    is_equal = pl.col("value").eq_missing(pl.col("value_stored"))
    differs = np.ones(frame.height, bool)
    differs[compared.filter(is_equal)["row"]] = False
    return frame.filter(differs)


def _append(
    conn: Connection, dataset: str, changes: pl.DataFrame, state: IngestState, now: datetime
) -> datetime | None:
    """Write versions, all recorded at one instant after those of every earlier ingestion."""
    if changes.is_empty():
        return state.landed_at
    at = now if state.landed_at is None else max(now, state.landed_at + _MICROSECOND)
    insert_frame(conn, observations, changes.with_columns(recorded_at=pl.lit(at, dtype=INSTANT)))
    last = changes["timestamp"].max()
    assert isinstance(last, datetime)
    newest = max(last, state.newest_observation or last)
    datasets.set_ingest_state(conn, dataset, IngestState(landed_at=at, newest_observation=newest))
    return at


def settle(conn: Connection, dataset: str, rows: pl.DataFrame) -> None:
    """Give versions (series_id, timestamp, recorded_at) the final value of their batch.

    A version equal to the one before it is deleted. Readers of changes have to read again.
    """
    if rows.is_empty():
        return
    state = datasets.lock(conn, dataset)
    assert state.landed_at is not None
    version = [observations.c[name] == sa.bindparam(f"b_{name}") for name in (*_KEY, "recorded_at")]
    parameters = [{f"b_{name}": value for name, value in row.items()} for row in rows.to_dicts()]
    conn.execute(
        update(observations).where(*version).values(value=sa.bindparam("b_value")), parameters
    )
    older = observations.alias("older")
    before = (
        select(older.c.value)
        .where(
            *(older.c[name] == observations.c[name] for name in _KEY),
            older.c.recorded_at < observations.c.recorded_at,
        )
        .order_by(older.c.recorded_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    conn.execute(delete(observations).where(*version, observations.c.value == before), parameters)
    later = replace(state, landed_at=state.landed_at + _MICROSECOND)
    datasets.set_ingest_state(conn, dataset, later)


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
    cells = _newest(conn, datasets.series_of(dataset, series), since, until, as_of)
    return named(cells, datasets.keys(conn, dataset))


def named(cells: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Return CELLS as OBSERVATIONS; `keys` are those of `datasets.keys`, or some of them."""
    joined = cells.join(keys, left_on="series_id", right_on="id", maintain_order="left")
    if not joined["rank"].is_sorted():
        joined = joined.sort("rank", "timestamp")
    return conform(joined.with_columns(series_id="key").select(OBSERVATIONS.names()), OBSERVATIONS)


def read_cells(
    conn: Connection, dataset: str, *, since: datetime, until: datetime, steps: int
) -> Iterator[pl.DataFrame]:
    """Return CELLS between `since` and `until` of whole series, millions of rows at a time.

    `steps` is about how many rows each series has in that time; see `versions.read`.
    """
    blocks = versions.read(conn, dataset, since=since, until=until, steps=steps, schema=CELLS)
    return map(_without_corrected, blocks)


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
    """Return CELLS of the series in `owners`: the newest version of each row, and no nulls."""
    limits = [
        *([] if since is None else [observations.c.timestamp >= since]),
        *([] if until is None else [observations.c.timestamp <= until]),
        *([] if as_of is None else [observations.c.recorded_at <= as_of]),
    ]
    return _without_corrected(versions.of_series(conn, owners, limits, CELLS))


def _without_corrected(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the newest version of each row; those of one row come one after the other."""
    return lookup.newest(lookup.in_order(rows, *_KEY)).drop_nulls("value")


def _require_unique(ordered: pl.DataFrame) -> None:
    is_repeated = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in _KEY)
    repeated = ordered.select(is_repeated.sum()).item()
    if repeated:
        raise SchemaMismatch(
            f"observations must be unique by series_id and timestamp, found {repeated} repeated"
        )
