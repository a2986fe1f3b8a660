"""How late rows arrive: by their arrival times, or else by which expected rows are missing.

A row is due when its step is over. Known arrival times show how late rows are, unless many arrived
together, as when a table is filled with its history. A single read of a
source only shows how long ago the oldest missing row was due; and a row only counts as missing if
it is expected: at the same place of the weeks before, there was one. So closed hours, weekends and
months do not count, and neither does a holiday.
"""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecaster.data.grid import START_MARKS, Grid
from forecaster.schemas import INSTANT

ON_TIME = 0.9
"""Share of the rows, and of the live series, that should have arrived once `delay` is over."""
_FEWEST_ARRIVALS = 10
_MANY_TOGETHER = 10
"""A load of so many times more cells than usual is no example of how late rows arrive."""
_WEEK = timedelta(days=7)
_WEEKS_COMPARED = 4
"""Weeks, or steps that are as long or longer."""
_FEWEST = 2
"""Of these that must exist."""
_USUALLY = 0.75
"""Share of them that had a row, where one is expected again."""
_SELDOM = 0.02
"""Share of the time in which runs of missing rows are usual."""
_MOST_CELLS = 1_000_000

Flags = NDArray[np.bool_]


def by_arrival(arrivals: pl.DataFrame, grid: Grid) -> timedelta | None:
    """Return how long after its step a row is there, nine times of ten; None if too few.

    `arrivals` has the columns timestamp and arrived, one row a timestamp. Rows that arrived with
    the next one, as when all of a history was read, are left out.
    """
    ordered = arrivals.sort("timestamp")
    gained = ordered["arrived"].shift(-1) - ordered["arrived"]
    alone = ordered.filter((gained >= grid.step.approximate / 2).fill_null(value=True))
    if alone.height < _FEWEST_ARRIVALS:
        return None
    due = _due(grid, grid.index_of(alone["timestamp"]))
    late = (alone["arrived"] - due).dt.total_microseconds().quantile(ON_TIME, "lower")
    return None if late is None else timedelta(microseconds=late)


def by_loads(arrivals: pl.DataFrame, grid: Grid) -> timedelta | None:
    """Return how late nine of ten loads of a series complete the oldest of their cells.

    `arrivals` has the columns series_id, timestamp and arrived. A load is what arrives of a series
    within half a step of one another: one row, or those of a day. Loads that are much larger than
    the series' latest ones are left out, and so are series with few of the others; None if no
    series is left.
    """
    key, half = "series_id", grid.step.approximate / 2
    first = arrivals.group_by(key, "timestamp").agg(pl.col("arrived").min())
    cells = (
        first.with_columns(cell=grid.index_of(first["timestamp"]))
        .group_by(key, "cell")
        .agg(pl.col("arrived").max())
    )
    late = (pl.col("arrived") - _due(grid, cells["cell"])).alias("late")
    is_next = (pl.col("arrived").diff().over(key) > half).fill_null(value=False)
    loads = (
        cells.with_columns(late)
        .sort(key, "arrived")
        .with_columns(load=is_next.cum_sum().over(key))
        .group_by(key, "load")
        .agg(size=pl.len(), late=pl.col("late").max())
        .sort(key, "load")
    )
    usual = pl.col("size").tail(_FEWEST_ARRIVALS).median().over(key)
    alike = loads.filter(pl.col("size") <= _MANY_TOGETHER * usual)
    enough = alike.filter(pl.len().over(key) >= _FEWEST_ARRIVALS)
    lateness = enough["late"].dt.total_microseconds().quantile(ON_TIME, "lower")
    return None if lateness is None else timedelta(microseconds=lateness)


def by_missing_rows(stamps: pl.Series, grid: Grid, now: datetime) -> timedelta | None:
    """Return how long the oldest row of a series that is missing at `now` has been due.

    `stamps` are its timestamps up to `now`. None where none is missing, or where that is usual.
    Rows of days and longer are due when their step is over, whatever their timestamps mark.
    """
    cells = grid.index_of(stamps).unique().sort().to_numpy()
    newest, current = int(cells[-1]), grid.index_at(now)
    if current - newest > _MOST_CELLS:
        return None
    first = max(int(cells[0]), newest - _MOST_CELLS)
    has_row = np.zeros(current - first + 1, dtype=np.bool_)
    has_row[cells[cells >= first] - first] = True
    expected = _expected(has_row, _period(grid))
    missing = np.flatnonzero(expected & ~has_row) + first
    late = pl.Series(missing[missing > newest], dtype=pl.Int64)
    due = grid.timestamps_of(late + 1) if grid.step.is_calendar else _due(grid, late)
    overdue = due.filter(due <= now)
    known = slice(0, newest - first + 1)
    if len(overdue) <= _usual_run(has_row[known], expected[known], grid):
        return None
    oldest = overdue[0]
    assert isinstance(oldest, datetime)
    return now - oldest


def _due(grid: Grid, cells: pl.Series) -> pl.Series:
    """Return when the rows of cells (Int64) are due."""
    if grid.marks == START_MARKS:
        return grid.timestamps_of(cells + 1)
    return (grid.timestamps_of(cells).to_physical() + grid.spread).cast(INSTANT)


def _expected(has_row: Flags, period: int) -> Flags:
    """Return which cells had a row at the same place of the periods before."""
    seen, possible = np.zeros(len(has_row)), np.zeros(len(has_row))
    for back in range(1, _WEEKS_COMPARED + 1):
        if (shift := back * period) < len(has_row):
            seen[shift:] += has_row[:-shift]
            possible[shift:] += 1
    expected: Flags = (possible >= _FEWEST) & (seen >= _USUALLY * possible)
    return expected


def _period(grid: Grid) -> int:
    """Return how many cells a week has; 1 where steps do not divide one."""
    step = grid.step
    if step.unit == "month" or _WEEK % step.approximate:
        return 1
    return _WEEK // step.approximate


def _usual_run(has_row: Flags, expected: Flags, grid: Grid) -> int:
    """Return how many consecutive expected rows may be missing without being late.

    As many as are missing more than seldom; and where some hours or days never have a row, those of
    a day, which may be a holiday.
    """
    runs, total = _runs(~has_row[expected]), int(expected.sum())
    often = [run for run in runs if sum(other for other in runs if other >= run) > _SELDOM * total]
    period = _period(grid)
    week = expected[-period:]
    if period == 1 or week.all():
        return max(often, default=0)
    days = np.array_split(week, min(7, period))
    return max([int(day.sum()) for day in days] + often)


def _runs(is_missing: Flags) -> list[int]:
    """Return the lengths of the runs of what is missing."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_missing, [False]]).astype(np.int8)))
    return [int(end - begin) for begin, end in edges.reshape(-1, 2)]
