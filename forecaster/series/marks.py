"""What the timestamps of rows mark, where no setting says it: read from the rows.

- Where cells have several rows, timestamps mark the start of what a row tells: "start".
- Else rows are instants. How far they lie behind the timestamps of their cells is the `spread` of
  the grid: a cell is complete after so long.

The end of a period looks like an instant, and so does a sum over a period that is not over: these
take a setting, or somebody who has seen how rows were corrected.
"""

from dataclasses import replace

import polars as pl

from forecaster.durations import Step
from forecaster.series.anchor import detect_grid
from forecaster.series.grid import END_MARKS, INSTANT_MARKS, START_MARKS, Grid

RECENT = 500
"""Cells that are looked at: how rows come now is what matters to a forecast."""
_FINER = 0.05
"""Share of rows that share their cell with an earlier one: repetitions are fewer."""
_COVERED = 0.99
"""Share of rows that lie within the spread of their grid."""


def grid_of(
    observations: pl.DataFrame,
    step: Step,
    timezone: str,
    *,
    marks: str | None = None,
    are_sums: bool = False,
) -> Grid:
    """Return the grid of OBSERVATIONS with what their timestamps mark: `marks`, or what is seen.

    Rows that `are_sums` over their step mark its start, unless `marks` says otherwise.
    """
    grid = detect_grid(observations, step, timezone, marks=marks or INSTANT_MARKS)
    if marks in (START_MARKS, END_MARKS):
        return grid
    recent = _recent(observations, grid)
    is_finer = _shared(recent) > _FINER
    if marks is None and (are_sums or is_finer):
        return replace(grid, marks=START_MARKS)
    return replace(grid, spread=_spread(recent, grid, 1.0 if is_finer else _COVERED))


def _recent(observations: pl.DataFrame, grid: Grid) -> pl.DataFrame:
    """Return series_id, timestamp and `index` of the newest cells."""
    located = observations.select("series_id", "timestamp").with_columns(
        grid.index_of(observations["timestamp"]).alias("index")
    )
    return located.filter(pl.col("index") > pl.col("index").max() - RECENT)


def _shared(located: pl.DataFrame) -> float:
    """Return the share of rows that share their cell with another one before them."""
    if located.is_empty():
        return 0.0
    keys, is_same = (
        located.select("series_id", "index"),
        pl.col("series_id").eq(pl.col("series_id").shift()),
    )
    is_before = pl.col("index") < pl.col("index").shift()
    if not keys["series_id"].is_sorted() or keys.select((is_same & is_before).any()).item():
        keys = keys.sort("series_id", "index")
    is_shared = is_same & (pl.col("index") == pl.col("index").shift())
    return float(keys.select(is_shared.sum()).item()) / len(keys)


def _spread(located: pl.DataFrame, grid: Grid, share: float) -> int:
    """Return by how many microseconds rows, a share of them, lie behind their cell's timestamp."""
    behind = located["timestamp"].to_physical() - grid.timestamps_of(located["index"]).to_physical()
    found = behind.quantile(share, "higher")
    return 0 if found is None else int(found)
