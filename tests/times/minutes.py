"""Schedules by brute force: every minute of many years looked at, in no way as `schedules` does it.

It shares only the parsers. It knows which minutes the wall clock shows, which of them it has shown
before, and which it skips.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from forecaster.times.cron import Crontab
from forecaster.times.durations import Step

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 24 * 60
APART = 6 * 60
"""Minutes within which no zone changes its clock twice."""
Minutes = NDArray[np.int64]


def minute_of(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(minutes=1)


@dataclass(frozen=True)
class Scan:
    """The minutes of UTC from `first` on, as the wall clock of a zone shows them."""

    zone: str
    first: int
    count: int

    @cached_property
    def wall(self) -> Minutes:
        """Minutes since 1970 on the wall, by minute of UTC."""
        zone = ZoneInfo(self.zone)
        offsets = np.empty(self.count, np.int64)
        at = [self._offset(zone, minute) for minute in range(0, self.count + APART, APART)]
        for number, (offset, later) in enumerate(pairwise(at)):
            here = slice(number * APART, min((number + 1) * APART, self.count))
            offsets[here] = offset
            if offset != later:
                offsets[here] = [self._offset(zone, k) for k in range(here.start, here.stop)]
        return np.arange(self.first, self.first + self.count) + offsets

    @cached_property
    def is_new(self) -> NDArray[np.bool_]:
        """Whether the wall clock shows a minute for the first time."""
        return self.wall > self.furthest

    @cached_property
    def jumps(self) -> list[int]:
        """Where the wall clock has skipped something."""
        return [int(place) for place in np.flatnonzero(self.wall > self.furthest + 1)]

    @cached_property
    def changes(self) -> list[int]:
        """The minutes of UTC at which the clock of the zone changes."""
        return [int(place) + self.first for place in np.flatnonzero(np.diff(self.wall) != 1)]

    @cached_property
    def days_and_times(self) -> tuple[Minutes, Minutes]:
        days, times = np.divmod(self.wall, DAY)
        return days, times

    @cached_property
    def furthest(self) -> Minutes:
        """The latest minute that the wall clock showed before each minute."""
        return np.concatenate([self.wall[:1] - 1, np.maximum.accumulate(self.wall)[:-1]])

    def ticks(self, expression: str) -> Minutes:
        """Return the minutes of UTC at which an expression ticks."""
        crontab = Crontab.parse(expression)
        matches = _Matches(crontab, int(self.wall.min()), int(self.wall.max()) + 2 * DAY)
        shown = matches.at(*self.days_and_times)
        if not crontab.follows_real_time:
            shown &= self.is_new
            for place in self.jumps:
                skipped = np.arange(self.furthest[place] + 1, self.wall[place])
                shown[place] |= bool(matches.at(*np.divmod(skipped, DAY)).any())
        return np.flatnonzero(shown) + self.first

    @cached_property
    def new_days(self) -> tuple[Minutes, Minutes, Minutes]:
        """Where the wall clock first shows another day, that day, and the latest before it."""
        days, before = self.days_and_times[0], self.furthest // DAY
        places = np.flatnonzero(days > before)
        return places, days[places], before[places]

    def starts(self, step: Step) -> Minutes:
        """Return the minutes of UTC at which the wall clock first shows another period."""
        places, *days = self.new_days
        now, before = (_period_of(each, step) for each in days)
        return places[now > before] + self.first

    def _offset(self, zone: ZoneInfo, minute: int) -> int:
        instant = EPOCH + timedelta(minutes=self.first + minute)
        offset = instant.astimezone(zone).utcoffset()
        assert offset is not None
        return offset // timedelta(minutes=1)


class _Matches:
    """Which minutes on the wall an expression names."""

    def __init__(self, crontab: Crontab, first: int, last: int) -> None:
        self._first = first // DAY
        days = np.arange(self._first, last // DAY + 1)
        dates = days.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        of_month = _among((dates - months).astype(np.int64) + 1, crontab.days)
        of_week = _among((days + 4) % 7, crontab.weekdays)
        both = of_month | of_week if crontab.either_day else of_month & of_week
        self._days = both & _among(months.astype(np.int64) % 12 + 1, crontab.months)
        self._times = _among(np.arange(DAY), frozenset(crontab.times))

    def at(self, days: Minutes, times: Minutes) -> NDArray[np.bool_]:
        return self._days[days - self._first] & self._times[times]


def _among(numbers: Minutes, allowed: frozenset[int]) -> NDArray[np.bool_]:
    return np.isin(numbers, list(allowed))


def _period_of(days: Minutes, step: Step) -> Minutes:
    """Return which period each day since 1970 falls into: weeks begin on Monday."""
    if step.unit == "day":
        return (days - (4 if step.count % 7 == 0 else 0)) // step.count
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return (months + 1970 * 12) // step.count
