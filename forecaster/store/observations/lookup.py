"""Which of some rows are stored already: one descent of an index for each run of neighbours.

A run is read from its first to its last timestamp. Rows that follow one another, as those of a
history, are few runs, and each row costs little; a row on its own is a run of one.
"""

from collections.abc import Iterator

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, select

from forecaster.schemas import INSTANT, VERSIONS
from forecaster.store.connection.bulk import read_frame
from forecaster.store.observations import pg_arrays
from forecaster.store.tables import observations

CELLS = pl.Schema({"series_id": pl.Int32(), "timestamp": INSTANT, "value": pl.Float64()})
"""Observations under the integer keys of their series, sorted by both; a null retracts one."""

_KEY = ["series_id", "timestamp"]
_ROWS_AT_ONCE = 250_000
_FIRST_ROWS = 200
"""The first block is small, and shows how many rows are stored for each that is looked up."""
_GROWTH = 25
"""How many times as many rows a block has at most as the one before."""
_WIDEST_GAP = 8
"""Rows of a series that are further apart, in usual gaps, are not of one run."""
_MOST_STORED = 8
"""How many rows are stored for each that is looked up, at most, where runs are still faster."""


def with_stored(conn: Connection, incoming: pl.DataFrame) -> pl.DataFrame:
    """Return CELLS beside the newest version of each: `stored`, `value_stored`, `recorded_at`.

    Where nothing is stored these are null.
    """
    if incoming.is_empty():
        return _beside(incoming, pl.DataFrame(schema=VERSIONS))
    return pl.concat(_blocks(conn, incoming))


def _blocks(conn: Connection, incoming: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Look rows up block by block, so that what is read fits into memory."""
    first, at_once, widest = 0, _FIRST_ROWS, _WIDEST_GAP
    while first < incoming.height:
        block = incoming[first : first + at_once]
        stored = in_order(_read(conn, _runs(block, widest)), *_KEY, "recorded_at")
        yield _beside(block, stored)
        first += block.height
        stored_per_row = max(1, stored.height // block.height)
        if stored_per_row > _MOST_STORED:
            widest = 0
        at_once = max(1, min(at_once * _GROWTH, _ROWS_AT_ONCE // stored_per_row))


def newest(versions: pl.DataFrame) -> pl.DataFrame:
    """Return the last version of each row; those of one row follow one another, oldest first."""
    is_last = pl.any_horizontal(pl.col(name) != pl.col(name).shift(-1) for name in _KEY)
    return versions.filter(is_last.fill_null(value=True))


def in_order(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Sort by the columns `names`, unless sorted already: that is cheaper to see than to do."""
    is_later: pl.Expr = pl.lit(value=True)
    for name in reversed(names):
        before = pl.col(name).shift()
        is_later = (before < pl.col(name)) | ((before == pl.col(name)) & is_later)
    return rows if rows.select(is_later.all()).item() else rows.sort(names, maintain_order=True)


def _beside(block: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    stored = newest(versions).with_columns(stored=True)
    if block.select(_KEY).equals(stored.select(_KEY)):  # as where nothing has changed
        return block.hstack(stored.drop(_KEY).rename({"value": "value_stored"}))
    return block.join(stored, on=_KEY, how="left", suffix="_stored", maintain_order="left").select(
        *block.columns, "recorded_at", "value_stored", "stored"
    )


def _runs(block: pl.DataFrame, widest: int) -> pl.DataFrame:
    """Return `series_id`, `since` and `until` of each run; a gap is `widest` usual ones at most."""
    is_same = pl.col("series_id") == pl.col("series_id").shift()
    gap = pl.when(is_same).then(pl.col("timestamp").diff().dt.total_microseconds()).alias("gap")
    starts = block.select(gap.is_null() | (gap > widest * gap.median())).to_series()
    ends = starts.shift(-1, fill_value=True)
    return pl.DataFrame(
        {
            "series_id": block["series_id"].filter(starts),
            "since": block["timestamp"].filter(starts).to_physical(),
            "until": block["timestamp"].filter(ends).to_physical(),
        }
    )


def _read(conn: Connection, runs: pl.DataFrame) -> pl.DataFrame:
    """Return the VERSIONS in all runs, whatever the planner thinks of it."""
    if conn.dialect.name == "postgresql":
        return pg_arrays.read_runs(conn, runs)
    texts = runs.select(pl.format("[{},{},{}]", *runs.columns).str.join(","))
    wanted = sa.func.json_each(f"[{texts.item()}]").table_valued("value")
    owner, since, until = (sa.func.json_extract(wanted.c.value, f"$[{n}]") for n in range(3))
    stamp = sa.type_coerce(observations.c.timestamp, sa.Integer)
    is_wanted = sa.and_(observations.c.series_id == owner, stamp.between(since, until))
    columns = (observations.c[name] for name in VERSIONS)
    return read_frame(
        conn, select(*columns).select_from(wanted.join(observations, is_wanted)), VERSIONS
    )
