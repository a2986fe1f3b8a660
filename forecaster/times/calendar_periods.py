"""Calendar periods: days, weeks, months and years as the wall clock of a time zone has them.

They are the cells of the grid that has the default anchor (`data.grid`): weeks begin on Monday,
months on the first, quarters in January, April, July and October, and several days are counted from
1970-01-01. A midnight that clocks skip is the first instant after it, one that comes twice is the
first of the two, and a day that a zone leaves out has no start of its own.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from forecaster.times.durations import Step, format_duration
from forecaster.times.wall_time import first_instant

_MONDAY, _FIRST = date(1970, 1, 5).toordinal(), date(1970, 1, 1).toordinal()
_EARLIEST, _LATEST = date(2, 1, 1), date(9998, 12, 31)
_LEAP_CYCLE = 400 * 12
_CACHED_STARTS = 16_384


@dataclass(frozen=True, slots=True)
class Periods:
    """Ticks at the starts of calendar periods of `step` in an IANA time zone, each `delay` later.

    A tick is so much real time after the start. ValueError for a step that is not of the calendar.
    """

    step: Step
    timezone: str = "UTC"
    delay: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if not self.step.is_calendar:
            raise ValueError(f"must be a step of days or months, found {self.step}")

    def __str__(self) -> str:
        later = f" + {format_duration(self.delay)}" if self.delay else ""
        return f"{self.step}{later} ({self.timezone})"

    @property
    def shortest(self) -> timedelta:
        """The shortest distance of two ticks, changes of the clock aside."""
        return _shortest(self.step)

    def floor(self, instant: datetime) -> datetime:
        """Return the last tick at or before `instant`; ValueError when no year has one."""
        return self._tick(self._number(instant))

    def after(self, instant: datetime) -> datetime:
        """Return the first tick after `instant`; ValueError when no year has one."""
        number = self._number(instant) + 1
        while (tick := self._tick(number)) <= instant:
            number += 1
        return tick

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """Return the ticks after `after` up to and with `until`, in order."""
        numbers = range(self._number(after) + 1, self._number(until) + 1)
        return list(dict.fromkeys(map(self._tick, numbers)))

    def _tick(self, number: int) -> datetime:
        return _start(self.step, self.timezone, number) + self.delay

    def _number(self, instant: datetime) -> int:
        """Return the last period that has begun, `delay` ago."""
        known = instant.astimezone(UTC) - self.delay
        shown = known.astimezone(ZoneInfo(self.timezone)).date()
        number = _number_of(self.step, shown) + 1  # begun before, where clocks went back over it
        while _start(self.step, self.timezone, number) > known:
            number -= 1
        return number


@lru_cache(_CACHED_STARTS)
def _start(step: Step, timezone: str, number: int) -> datetime:
    """Return the instant at which a period begins."""
    day = _first_day(step, number)
    return first_instant(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)))


def _first_day(step: Step, number: int) -> date:
    if step.unit == "day":
        ordinal = _base(step) + number * step.count
        if _EARLIEST.toordinal() <= ordinal <= _LATEST.toordinal():
            return date.fromordinal(ordinal)
    else:
        year, month = divmod(number * step.count, 12)
        if _EARLIEST.year <= year <= _LATEST.year:
            return date(year, month + 1, 1)
    raise ValueError(f"a period of {step} begins outside of the years 2 to 9998")


def _number_of(step: Step, day: date) -> int:
    """Return the period that a day of the calendar falls into."""
    if step.unit == "day":
        return (day.toordinal() - _base(step)) // step.count
    return (day.year * 12 + day.month - 1) // step.count


def _base(step: Step) -> int:
    return _MONDAY if step.count % 7 == 0 else _FIRST


@lru_cache
def _shortest(step: Step) -> timedelta:
    if step.unit == "day":
        return step.approximate
    months = range(2000 * 12 // step.count, (2000 * 12 + _LEAP_CYCLE) // step.count + 2)
    return min(later - day for day, later in pairwise(_first_day(step, n) for n in months))
