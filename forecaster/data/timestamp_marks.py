"""Infer what the timestamps of rows mark, where no setting does: from the rows.

- Where cells have several rows, timestamps mark the start of the period of a row: "start".
- Else rows are instants. How far they lie behind the timestamps of their cells is the `spread` of
  the grid: a cell is complete after so long.

The end of a period looks like an instant, and so does a sum over a period that is not over: these
require a setting, or the corrections of rows.
"""

from dataclasses import replace

import polars as pl

from forecaster.data.anchor import detect_grid
from forecaster.data.grid import END_MARKS, INSTANT_MARKS, START_MARKS, Grid
from forecaster.times.durations import Step

RECENT = 500
"""Cells that are looked at: how rows come now is what matters to a forecast."""
_FINER = 0.05
"""Share of rows that share their cell with an earlier one: repetitions are fewer."""
_COVERED = 0.99
"""Share of the rows of a series that lie within the spread of its grid."""
_SOME = 0.1
"""Share of the series that a rule for all of them has to suit: a smaller share is ignored."""


def grid_of(
    observations: pl.DataFrame,
    step: Step,
    timezone: str,
    *,
    marks: str | None = None,
    are_sums: bool = False,
) -> Grid:
    """Return the grid of OBSERVATIONS with what their timestamps mark: `marks`, or what is seen.

    Rows that `are_sums` over their step mark its start, unless `marks` is given.
    """
    grid = detect_grid(observations, step, timezone, marks=marks or INSTANT_MARKS)
    if marks in (START_MARKS, END_MARKS):
        return grid
    of_series = _behind(observations, grid)
    is_finer = bool((of_series["shared"] > _FINER).mean() >= _SOME)  # type: ignore[operator]
    if marks is None and (are_sums or is_finer):
        return replace(grid, marks=START_MARKS)
    spread = of_series["last" if is_finer else "usual"].quantile(1 - _SOME, "higher")
    return replace(grid, spread=0 if spread is None else int(spread))


def _behind(observations: pl.DataFrame, grid: Grid) -> pl.DataFrame:
    """Return of each series in the newest cells: the share of rows that share their cell with one
    before, and by how many microseconds rows lie behind the timestamp of their cell: nearly all of
    them, `usual`, and all, `last`."""
    index = grid.index_of(observations["timestamp"])
    located = observations.select("series_id", "timestamp", index=index)
    recent = located.filter(pl.col("index") > pl.col("index").max() - RECENT)
    behind = recent["timestamp"].to_physical() - grid.timestamps_of(recent["index"]).to_physical()
    return (
        recent.with_columns(behind=behind)
        .group_by("series_id")
        .agg(
            shared=1 - pl.col("index").n_unique() / pl.len(),
            usual=pl.col("behind").quantile(_COVERED, "higher"),
            last=pl.col("behind").max(),
        )
    )
