"""Which cells of a grid are open: those of which any minute lies in its hours, on its clock.

Closed cells are neither gaps nor late, and get no forecast and no score.
"""

from typing import Any, Final

import numpy as np
import polars as pl

from forecaster.data.grid import END_MARKS, Grid
from forecaster.times.local_time import wall_clock
from forecaster.times.opening_hours import DAY, WEEK

Array = np.ndarray[Any, np.dtype[Any]]

MINUTE: Final = 60_000_000
_THURSDAY: Final = 3 * DAY * MINUTE
"""1970 began on one."""


def is_open(grid: Grid, indices: Array) -> Array:
    """Return which cells, int64 of any shape, are open; all of them where the grid has no hours."""
    if grid.hours is None or indices.size == 0:
        return np.ones(indices.shape, bool)
    first, last = int(indices.min()), int(indices.max())
    if last - first > 4 * indices.size:
        cells, place = np.unique(indices, return_inverse=True)
        return np.asarray(_are_open(grid, cells)[place.reshape(indices.shape)])
    are_open: Array = _are_open(grid, np.arange(first, last + 1))[indices - first]
    return are_open


def _are_open(grid: Grid, cells: Array) -> Array:
    assert grid.hours is not None
    if grid.step.unit == "month":
        return np.ones(len(cells), bool)
    begins = week_clock(grid, cells)
    length = _length(grid)
    first = begins // MINUTE
    count = np.minimum(-(-(begins % MINUTE + length) // MINUTE), WEEK)
    minutes = np.zeros(2 * WEEK + 1, np.int64)
    for opens, closes in grid.hours.intervals:
        for week in (0, WEEK):
            minutes[week + opens + 1 : week + closes + 1] = 1
    so_far, place = minutes.cumsum(), first % WEEK
    are_open: Array = so_far[place + count] > so_far[place]
    return are_open


def week_clock(grid: Grid, cells: Array) -> Array:
    """Return when cells begin on the wall clock, in microseconds since a Monday."""
    stamps = grid.timestamps_of(pl.Series(cells, dtype=pl.Int64))
    wall = wall_clock(stamps, grid.timezone).to_numpy() + _THURSDAY
    return np.asarray(wall - (_length(grid) if grid.marks == END_MARKS else 0))


def _length(grid: Grid) -> int:
    """Return how long a cell of days or less is on the wall clock, in microseconds."""
    return grid.step.count * (DAY * MINUTE if grid.step.unit == "day" else 1)
