"""The anchor of a grid, detected in the data.

The phase of an instant is its distance from the beginning of a default cell: the epoch for steps in
microseconds, else midnight, Monday or the first of the month on the wall clock. Rules:

1. The common phase is the one that most series have most often. It becomes the anchor when it
   covers the majority of the observations.
2. Calendar steps are read on the clock (the dataset's time zone, or UTC) on which the common phase
   covers more observations; on a tie, on the one that shows midnight. So daily rows stamped at
   00:00Z stay at 00:00Z, all year, even where the dataset's zone is New York.
3. Where stamps still move with a third clock's summer time, the earlier of the two phases is the
   anchor: every observation then keeps a cell of its own.
4. Without a majority: the weekday or month that the majority has, else the default cell.
5. Where stamps move within their period, as the last business day of a month does, or around the
   anchor, cells would get two of them and none. Then another anchor is taken that separates them:
   the default cell (a month, a week, a day, an hour), or else, where no phase has nearly all rows,
   the first one after the longest gap between phases.
"""

import calendar
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from forecaster.data.grid import END_MARKS, EPOCH, INSTANT_MARKS, Grid
from forecaster.times.durations import Step
from forecaster.times.local_time import DAY_MICROSECONDS, month_number, wall_clock

_HOUR = 3_600_000_000
_WIDEST_MONTH = 31 * DAY_MICROSECONDS
_MONDAY = 4 * DAY_MICROSECONDS
_WORTH_KEEPING = 0.05
"""A phase with a smaller share of the observations does not pull the anchor towards it."""


_RARE = 0.01
"""Share of the observations, those of the rarest phases, that the search for gaps ignores."""


class _Clock(NamedTuple):
    """The phases (phase, count, modes) seen on one clock, and the common one with its share."""

    timezone: str
    phases: pl.DataFrame
    common: int
    share: float

    def covers_majority(self, is_covered: pl.Expr) -> bool:
        """Whether more than half of the observations have a phase that is covered."""
        covered = self.phases.select(pl.col("count").filter(is_covered).sum()).item()
        return bool(2 * covered > self.phases["count"].sum())


def detect_grid(
    observations: pl.DataFrame, step: Step, timezone: str, *, marks: str = INSTANT_MARKS
) -> Grid:
    """Return the grid of OBSERVATIONS: `step`, the detected anchor and the clock it is read on."""
    default = Grid(step, _anchor_of(0, step), timezone, marks)
    if observations.is_empty():
        return default
    zones = dict.fromkeys([timezone, "UTC"] if step.is_calendar else ["UTC"])
    clocks = [_read_clock(observations, step, zone) for zone in zones]
    # The clock on which the phases agree best; the first one is the dataset's own.
    clock = max(clocks, key=lambda clock: (clock.share, clock.common % DAY_MICROSECONDS == 0))
    phase = _majority_phase(clock, _span(step), _tolerance(step))
    if phase is None:
        clock = _read_clock(observations, step, timezone)
        phase = _majority_phase(_coarse(clock, step), _span(step), 0)
    grid_timezone = clock.timezone if step.is_calendar else timezone
    common = Grid(step, _anchor_of(phase or 0, step), grid_timezone, marks)
    if phase is not None and clock.share == 1:
        return common
    zones_of_others = zones if step.is_calendar else [grid_timezone]
    others = [replace(default, timezone=zone) for zone in zones_of_others]
    if clock.share < 1 - _WORTH_KEEPING:
        phases = (_after_the_gap(clock, _span(step), marks) for clock in clocks)
        others += [
            replace(grid, anchor=_anchor_of(phase, step))
            for grid, phase in zip(others, phases, strict=True)
        ]
    return _separating(observations, common, others)


class _CellUse(NamedTuple):
    """Observations that share their cell with an earlier one, and empty cells between others."""

    merged: int
    gaps: int


def _separating(observations: pl.DataFrame, common: Grid, others: Sequence[Grid]) -> Grid:
    """Return the grid on which observations keep cells of their own: the common one, unless another
    leaves no cell with several or none, or half as many shared ones."""
    keys = observations.select("series_id", "timestamp")
    if not keys.select(pl.col("series_id").is_sorted() & _ascends()).item():
        keys = keys.sort("series_id", "timestamp")
    now = _cell_use(keys, common)
    if now == (0, 0):
        return common
    candidates = [(grid, _cell_use(keys, grid)) for grid in dict.fromkeys(others)]
    best, then = min(candidates, key=lambda candidate: candidate[1])
    is_better = then == (0, 0) or 2 * then.merged <= now.merged != 0
    return best if is_better else common


def _ascends() -> pl.Expr:
    """Whether timestamps ascend within each series, of rows that are sorted by series."""
    is_new = pl.col("series_id") != pl.col("series_id").shift()
    return (is_new | (pl.col("timestamp") >= pl.col("timestamp").shift())).all()


def _cell_use(keys: pl.DataFrame, grid: Grid) -> _CellUse:
    """Count shared and empty cells of rows (series_id, timestamp), sorted, on a grid."""
    cells = keys.select("series_id", index=grid.index_of(keys["timestamp"]))
    steps = pl.col("index").diff()
    is_same = pl.col("series_id") == pl.col("series_id").shift()
    return _CellUse(
        *cells.select(
            merged=(is_same & (steps == 0)).sum(),
            gaps=pl.when(is_same & (steps > 0)).then(steps - 1).otherwise(0).sum(),
        ).row(0)
    )


def _after_the_gap(clock: _Clock, span: int, marks: str) -> int:
    """Return the first phase after the longest gap; the last before it, where
    timestamps mark ends. Few rows do not count."""
    rare = clock.phases.sort("count", "phase").with_columns(before=pl.col("count").cum_sum())
    kept = rare.filter(pl.col("before") > _RARE * pl.col("count").sum())["phase"].sort()
    gaps = kept.diff()
    gaps[0] = kept[0] + span - kept[-1]
    first = int(gaps.arg_max() or 0)
    return int(kept[first - 1] if marks == END_MARKS else kept[first])


def _read_clock(observations: pl.DataFrame, step: Step, timezone: str) -> _Clock:
    wall = wall_clock(observations["timestamp"], timezone)
    phase = _month_phase(wall, step) if step.unit == "month" else _phase(wall, step)
    seen = observations.select("series_id", phase.alias("phase"))
    return _summarise(seen.group_by("series_id", "phase").len("count"), timezone)


def _summarise(counts: pl.DataFrame, timezone: str) -> _Clock:
    """Find the common phase; ties go to the earlier one."""
    by_series = counts.sort("count", "phase", descending=[True, False]).unique(
        "series_id", keep="first", maintain_order=True
    )
    modes = by_series.group_by("phase").len("modes")
    phases = counts.group_by("phase").agg(pl.col("count").sum().cast(pl.Int64))
    phases = phases.join(modes, on="phase", how="left").sort(
        "modes", "count", "phase", descending=[True, True, False], nulls_last=True
    )
    common, count, _ = phases.row(0)
    return _Clock(timezone, phases, common, count / phases["count"].sum())


def _majority_phase(clock: _Clock, span: int, tolerance: int) -> int | None:
    """Return the anchoring phase, or None where no phase has the majority."""
    before = (clock.common - pl.col("phase")) % span
    is_near = (before <= tolerance) & (pl.col("count") >= _WORTH_KEEPING * pl.col("count").sum())
    ahead = clock.phases.select(before.filter(is_near).max()).item() or 0
    earliest = (clock.common - ahead) % span
    is_covered = (pl.col("phase") - earliest) % span <= tolerance
    return earliest if clock.covers_majority(is_covered) else None


def _coarse(clock: _Clock, step: Step) -> _Clock:
    """Look at days of the week, or months of the year, instead of exact phases."""
    width = {"microsecond": _span(step), "day": DAY_MICROSECONDS, "month": _WIDEST_MONTH}[step.unit]
    counts = clock.phases.select(
        pl.lit("").alias("series_id"), pl.col("phase") // width * width, "count"
    )
    merged = counts.group_by("series_id", "phase").agg(pl.col("count").sum())
    return _summarise(merged, clock.timezone)


def _span(step: Step) -> int:
    """Return the length of a cell in microseconds; a month is as wide as the longest one."""
    widths = {"microsecond": 1, "day": DAY_MICROSECONDS, "month": _WIDEST_MONTH}
    return step.count * widths[step.unit]


def _tolerance(step: Step) -> int:
    """Return how far summer time moves stamps, where that is less than half a cell."""
    return _HOUR if _span(step) > 2 * _HOUR else 0


def _base(step: Step) -> int:
    """Return the wall time at which a default cell begins: weeks begin on Monday."""
    return _MONDAY if step.unit == "day" and step.count % 7 == 0 else 0


def _phase(wall: pl.Series, step: Step) -> pl.Series:
    since = wall - _base(step)
    return since - since // _span(step) * _span(step)


def _month_phase(wall: pl.Series, step: Step) -> pl.Series:
    """Place each wall time in its cell as if all months had 31 days.

    Last days of months count as the 31st when that makes more observations agree.
    """
    shown = wall.cast(pl.Datetime("us"))
    months = month_number(wall)
    within = (months - months // step.count * step.count) * _WIDEST_MONTH
    days = pl.DataFrame(
        {"day": shown.dt.day().cast(pl.Int64), "last": shown.dt.month_end().dt.day()}
    )
    is_last = days["day"] == days["last"].cast(pl.Int64)
    commonest = days["day"].value_counts(sort=True)["count"][0]
    if is_last.sum() > commonest:
        days = days.select(pl.when(is_last).then(31).otherwise("day").cast(pl.Int64).alias("day"))
    clock = wall - wall // DAY_MICROSECONDS * DAY_MICROSECONDS
    return within + (days["day"] - 1) * DAY_MICROSECONDS + clock


def _anchor_of(phase: int, step: Step) -> int:
    if step.unit != "month":
        return _base(step) + phase
    offset, rest = divmod(phase, _WIDEST_MONTH)
    day, clock = divmod(rest, DAY_MICROSECONDS)
    first = 1970 * 12 // step.count * step.count + offset
    years_months = [divmod(first + k * step.count, 12) for k in range(12)]
    # A cell's day is the anchor's, cut to the month: the anchor has to lie in a long month.
    year, month = max(years_months, key=lambda ym: calendar.monthrange(ym[0], ym[1] + 1)[1])
    last = calendar.monthrange(year, month + 1)[1]
    begin = datetime(year, month + 1, min(day + 1, last), tzinfo=UTC) - EPOCH
    return begin // timedelta(microseconds=1) + clock
