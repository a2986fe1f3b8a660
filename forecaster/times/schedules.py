"""Schedules: at which instants a job is due, computed from an instant alone.

`Every` counts from 1970 in UTC. `Periods` follows the calendar of a time zone: its days, weeks,
months and years (`periods`). `Cron` follows the wall clock of one, and takes a change of that clock
as Debian's cron does. Where minute or hour begins with `*`, ticks follow real time: an
hour that comes twice has its ticks twice, and one that is skipped has none. Everywhere else a time
of day ticks once: the first time if it comes twice, and at the end of the jump if it is skipped.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from forecaster.times.calendar_periods import Periods
from forecaster.times.cron import Crontab
from forecaster.times.durations import Step, format_duration
from forecaster.times.wall_time import instants

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_SIXTY_YEARS = range(date(2000, 1, 1).toordinal(), date(2060, 1, 1).toordinal())
_CACHED_DAYS = 4096
_FIRST_DAY, _LAST_DAY = date(2, 1, 1).toordinal(), date(9998, 12, 31).toordinal()


@dataclass(frozen=True, slots=True)
class Every:
    """Ticks at the multiples of `period` since 1970 in UTC, each `delay` later."""

    period: timedelta
    delay: timedelta = timedelta(0)

    def __str__(self) -> str:
        later = self.delay % self.period
        return format_duration(self.period) + (f" + {format_duration(later)}" if later else "")

    @property
    def shortest(self) -> timedelta:
        """The distance of two ticks."""
        return self.period

    def floor(self, instant: datetime) -> datetime:
        """Return the last tick at or before `instant`."""
        return self._tick(self._number(instant))

    def after(self, instant: datetime) -> datetime:
        """Return the first tick after `instant`."""
        return self._tick(self._number(instant) + 1)

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """Return the ticks after `after` up to and with `until`, in order."""
        return [
            self._tick(number) for number in range(self._number(after) + 1, self._number(until) + 1)
        ]

    def _number(self, instant: datetime) -> int:
        return (instant - _EPOCH - self.delay) // self.period

    def _tick(self, number: int) -> datetime:
        return _EPOCH + (number * self.period + self.delay)


@dataclass(frozen=True, slots=True)
class Cron:
    """Ticks at the minutes of a cron expression on the wall clock of an IANA time zone.

    ValueError when the expression is invalid, or can never tick.
    """

    expression: str
    timezone: str = "UTC"
    crontab: Crontab = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "crontab", Crontab.parse(self.expression))

    def __str__(self) -> str:
        return f"{self.expression} ({self.timezone})"

    @property
    def shortest(self) -> timedelta:
        """The shortest distance of two ticks, changes of the clock aside."""
        return _shortest(self.crontab)

    def floor(self, instant: datetime) -> datetime:
        """Return the last tick at or before `instant`; ValueError when no year has one."""
        for day in _days(instant, back=True):
            ticks = _ticks(self, day)
            if ticks and ticks[0] <= instant:
                return ticks[bisect_right(ticks, instant) - 1]
        raise ValueError(f"{self} has no tick up to {instant.isoformat()}")

    def after(self, instant: datetime) -> datetime:
        """Return the first tick after `instant`; ValueError when no year has one."""
        for day in _days(instant):
            ticks = _ticks(self, day)
            if ticks and ticks[-1] > instant:
                return ticks[bisect_right(ticks, instant)]
        raise ValueError(f"{self} has no tick after {instant.isoformat()}")

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """Return the ticks after `after` up to and with `until`, in order."""
        first, last = after.astimezone(UTC).date(), until.astimezone(UTC).date()
        days = (first + n * _DAY for n in range((last - first).days + 1))
        return [tick for day in days for tick in _ticks(self, day) if after < tick <= until]


Schedule = Every | Periods | Cron


def every(step: Step, *, timezone: str = "UTC", delay: timedelta = timedelta(0)) -> Schedule:
    """Return the starts of all steps, each `delay` later; days and months are those of a zone."""
    if step.is_calendar:
        return Periods(step, timezone, delay)
    return Every(step.approximate, delay)


def _days(instant: datetime, *, back: bool = False) -> Iterator[date]:
    """Yield the days of UTC from that of an instant on, or back, to the last year with margins."""
    day = instant.astimezone(UTC).date().toordinal()
    numbers = range(day, _FIRST_DAY - 1, -1) if back else range(day, _LAST_DAY + 1)
    return map(date.fromordinal, numbers)


def _ticks(cron: Cron, day: date) -> tuple[datetime, ...]:
    """Return the ticks of a day of UTC, in order.

    No zone is a day or more from UTC, so they lie on three days of its calendar; these may overlap
    where the clock is set back across midnight.
    """
    nearby = [day + n * _DAY for n in (-1, 0, 1)]
    if not any(map(cron.crontab.falls_on, nearby)):
        return ()
    return _ticks_near(cron, day)


@lru_cache(_CACHED_DAYS)
def _ticks_near(cron: Cron, day: date) -> tuple[datetime, ...]:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    near = {tick for n in (-1, 0, 1) for tick in _ticks_on(cron, day + n * _DAY)}
    return tuple(sorted(tick for tick in near if begin <= tick < begin + _DAY))


@lru_cache(_CACHED_DAYS)
def _ticks_on(cron: Cron, day: date) -> frozenset[datetime]:
    """Return the ticks whose time on the wall is on `day`."""
    if not cron.crontab.falls_on(day):
        return frozenset()
    zone = ZoneInfo(cron.timezone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    ticks = set[datetime]()
    for minutes in cron.crontab.times:
        wall = midnight + minutes * _MINUTE
        ticks.update(instants(wall, follows_real_time=cron.crontab.follows_real_time))
    return frozenset(ticks)


@lru_cache
def _shortest(crontab: Crontab) -> timedelta:
    times = crontab.times
    overnight = _shortest_days(crontab) * _DAY - (times[-1] - times[0]) * _MINUTE
    return min([overnight, *((later - time) * _MINUTE for time, later in pairwise(times))])


def _shortest_days(crontab: Crontab) -> int:
    """Return the fewest days from one day with ticks to the next, as sixty years show them."""
    fewest, last = len(_SIXTY_YEARS), -len(_SIXTY_YEARS)
    for number in _SIXTY_YEARS:
        if crontab.falls_on(date.fromordinal(number)):
            fewest, last = min(fewest, number - last), number
        if fewest == 1:
            break
    return fewest
