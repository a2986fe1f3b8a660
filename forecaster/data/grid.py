"""The grid: which instants a dataset's values belong to, and when they are complete.

Cell i has the timestamp `timestamps_of(i)`. Steps in microseconds count from the anchor in UTC.
Steps of days and months count on the wall clock of a time zone, so that a day lasts 23, 24 or 25
hours:

- a wall time that a clock change skips moves forward to the first instant that exists;
- a wall time that happens twice means the first one;
- a month shorter than the anchor's day ends on its last day;
- a day skipped as a whole (Samoa, 2011-12-30) keeps its index, but its cell is empty.

What the timestamps of rows mark says which rows a cell has, and from when on it is complete, so
that a forecast may use it:

- "instant": it has the rows from its timestamp to before the next one. Rows lie on the grid, or at
  most `spread` microseconds behind it: after so long, or when the next one begins, it is complete.
- "start": it has the same rows, and is complete when the next one begins.
- "end": it has the rows after the timestamp before, up to its own, when it is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from forecaster.schemas import INSTANT
from forecaster.times.durations import Step
from forecaster.times.local_time import DAY_MICROSECONDS, instant_of, month_number, wall_clock
from forecaster.times.opening_hours import OpeningHours

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT_MARKS, START_MARKS, END_MARKS = "instant", "start", "end"
_MICROSECOND, _NOTHING = timedelta(microseconds=1), timedelta(0)
_CALENDAR_SLACK = timedelta(days=5)
"""How far any number of calendar steps may be from their mean length."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A step from an anchor.

    `anchor` is in microseconds since 1970-01-01T00:00: in UTC for steps in microseconds, on the
    wall clock of `timezone` for steps of days and months. `spread` is in microseconds. Outside of
    `hours`, on that clock, cells are closed (`forecaster.data.open_cells`); None is always open.
    """

    step: Step
    anchor: int
    timezone: str = "UTC"
    marks: str = INSTANT_MARKS
    spread: int = 0
    hours: OpeningHours | None = None

    def index_of(self, timestamps: pl.Series) -> pl.Series:
        """Return the cell (Int64) that a row of each instant belongs to."""
        return self._count(timestamps, up=self.marks == END_MARKS)

    def timestamps_of(self, indices: pl.Series) -> pl.Series:
        """Return the timestamp of each cell (Int64)."""
        cells = indices.cast(pl.Int64)
        if not self.step.is_calendar:
            return (cells * self.step.count + self.anchor).cast(INSTANT)
        if self.step.unit == "day":
            days = cells * (self.step.count * DAY_MICROSECONDS)
            return instant_of(days + self.anchor, self.timezone)
        return instant_of(self._months_after_anchor(cells), self.timezone)

    def complete_of(self, known: pl.Series) -> pl.Series:
        """Return the last cell (Int64) that is complete when all rows up to an instant are in."""
        begun = self._count(known)
        if self.marks == START_MARKS or not self.spread:
            return begun - 1 if self.marks == START_MARKS else begun
        waited = self._count((known.cast(INSTANT).to_physical() - self.spread).cast(INSTANT))
        # A cell that is shorter than the spread, as February may be, is over as the next begins.
        return pl.select(pl.max_horizontal(waited, begun - 1)).to_series().alias(known.name)

    def index_at(self, timestamp: datetime) -> int:
        """Return the cell that a row of an aware instant belongs to."""
        return self.indices_at([timestamp])[0]

    def indices_at(self, timestamps: Sequence[datetime]) -> list[int]:
        """Return the cells that rows of aware instants belong to."""
        cells: list[int] = self.index_of(_series(timestamps)).to_list()
        return cells

    def complete_at(self, known: Sequence[datetime]) -> list[int]:
        """Return the last cells that are complete when all rows up to aware instants are in."""
        cells: list[int] = self.complete_of(_series(known)).to_list()
        return cells

    def timestamp_at(self, index: int) -> datetime:
        """Return the timestamp of a cell, in UTC."""
        return _instant(self.timestamps_of(pl.Series([index])))

    def first_of(self, index: int) -> datetime:
        """Return the first instant whose row belongs to a cell, or to a later one."""
        if self.marks == END_MARKS:
            return self.timestamp_at(index - 1) + _MICROSECOND
        return self.timestamp_at(index)

    def last_of(self, index: int) -> datetime:
        """Return the last instant whose row belongs to a cell, or to an earlier one."""
        return _instant(self.lasts_of(pl.Series([index])))

    def lasts_of(self, indices: pl.Series) -> pl.Series:
        """Return the last instant whose row belongs to each cell (Int64), or to an earlier one."""
        if self.marks == END_MARKS:
            return self.timestamps_of(indices)
        return (self.timestamps_of(indices + 1).to_physical() - 1).cast(INSTANT)

    @property
    def lag(self) -> timedelta:
        """How old the timestamp of a cell may be when the cell is complete, at most."""
        if self.marks == START_MARKS:
            return self.step.approximate + (_CALENDAR_SLACK if self.step.is_calendar else _NOTHING)
        return self.spread * _MICROSECOND

    def known(self, until: datetime) -> datetime:
        """Return up to when rows may be used when all up to `until` are in: complete cells only."""
        return min(until, self.last_of(self.complete_at([until])[0]))

    def _count(self, timestamps: pl.Series, *, up: bool = False) -> pl.Series:
        """Return the cell (Int64) whose timestamp is the last one up to each instant, or, `up`,
        the first one from it on."""
        if not self.step.is_calendar:
            since = timestamps.cast(INSTANT).to_physical() - self.anchor
            cells = -(-since // self.step.count) if up else since // self.step.count
            return cells.cast(pl.Int64)
        if timestamps.null_count() == len(timestamps):
            return pl.Series(timestamps.name, [None] * len(timestamps), dtype=pl.Int64)
        return self._calendar_count(timestamps.cast(INSTANT), up=up)

    def _calendar_count(self, timestamps: pl.Series, *, up: bool) -> pl.Series:
        """Search the timestamps of all cells in the span: the definition, clock changes and all."""
        ends = pl.Series([timestamps.min(), timestamps.max()], dtype=INSTANT)
        first, last = self._wall_index(wall_clock(ends, self.timezone))
        cells = pl.int_range(first - 2, last + 3, dtype=pl.Int64, eager=True)
        begins = self.timestamps_of(cells).to_physical()
        before = begins.search_sorted(timestamps.to_physical(), side="left" if up else "right")
        indices = before.cast(pl.Int64) + (first - 2 if up else first - 3)
        return indices.alias(timestamps.name).set(timestamps.is_null(), None)

    def _wall_index(self, wall: pl.Series) -> list[int]:
        """Return the cells of wall times, off by one at most where clocks change."""
        if self.step.unit == "day":
            cells = (wall - self.anchor) // (self.step.count * DAY_MICROSECONDS)
        else:
            anchor_month = month_number(pl.Series([self.anchor])).item()
            cells = (month_number(wall) - anchor_month) // self.step.count
        return [int(cell) for cell in cells]

    def _months_after_anchor(self, cells: pl.Series) -> pl.Series:
        """Return wall times (Int64) on the anchor's day of the month, or the month's last."""
        anchor = pl.Series([self.anchor])
        months = cells * self.step.count + month_number(anchor).item()
        day = anchor.cast(pl.Datetime("us")).dt.day().item()
        frame = pl.DataFrame({"year": months // 12, "month": months - months // 12 * 12 + 1})
        begin = pl.datetime("year", "month", 1, time_unit="us")
        days = pl.min_horizontal(begin.dt.days_in_month(), pl.lit(day)).cast(pl.Int64) - 1
        clock = self.anchor - self.anchor // DAY_MICROSECONDS * DAY_MICROSECONDS
        wall = begin.to_physical() + days * DAY_MICROSECONDS + clock
        return frame.select(wall.alias(cells.name)).to_series()


def _series(timestamps: Sequence[datetime]) -> pl.Series:
    since = [(timestamp - EPOCH) // _MICROSECOND for timestamp in timestamps]
    return pl.Series(since, dtype=pl.Int64).cast(INSTANT)


def _instant(timestamps: pl.Series) -> datetime:
    microseconds: int = timestamps.to_physical().item()
    return EPOCH + microseconds * _MICROSECOND
