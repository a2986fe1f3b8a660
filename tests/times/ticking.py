"""Zones, spans of time, and what is compared of schedules."""

from datetime import UTC, datetime, timedelta

import numpy as np

from forecaster.times.calendar_periods import Periods
from forecaster.times.schedules import Cron
from tests.times.minutes import (
    DAY,
    EPOCH,
    Minutes,
    minute_of,
)

ZONES = (
    "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Moscow", "Europe/Istanbul",
    "Europe/Chisinau", "America/New_York", "America/St_Johns", "America/Sao_Paulo",
    "America/Havana", "America/Santiago", "America/Asuncion", "America/Caracas", "America/Nuuk",
    "America/Scoresbysund", "Africa/Casablanca", "Africa/Cairo", "Africa/Juba", "Asia/Kathmandu",
    "Asia/Tehran", "Asia/Gaza", "Asia/Amman", "Asia/Pyongyang", "Asia/Beirut", "Australia/Sydney",
    "Australia/Lord_Howe", "Antarctica/Troll", "Antarctica/Casey", "Pacific/Apia",
    "Pacific/Chatham", "Pacific/Norfolk", "UTC",
)  # fmt: skip
DENSE = ("* * * * *", "*/7 * * * *", "15 */2 * * *", "*/30 0-3 * * sun", "* 2 * 3,10 *")
SPARSE = (
    "0 0 * * *", "30 2 * * *", "1 0 * * *", "59 23 * * *", "0,30 0-3 * * *", "15 1,2,3 * * sun",
    "30 1 * * mon-fri", "0 6 1,15 * fri", "0 12 29 2 *", "0 0 30 dec *", "5 4 */10 * sat",
    "@monthly", "@weekly",
)  # fmt: skip
PERIODS = ("1d", "2d", "3d", "1w", "2w", "10d", "1mo", "2mo", "3mo", "5mo", "6mo", "1y", "18mo")
DELAYS = ("0s", "1m", "15m", "5h30m", "1d18h", "9d", "45d")
FROM, YEARS = datetime(2008, 1, 1, tzinfo=UTC), 20
LENGTH = (YEARS * 365 + 5) * DAY


def differences(cron: Cron | Periods, ticks: Minutes, first: int, count: int) -> list[datetime]:
    """Instants among `count` minutes from `first` on at which only one of both ticks."""
    after = EPOCH + timedelta(minutes=first) - timedelta(microseconds=1)
    found = cron.between(after, EPOCH + timedelta(minutes=first + count - 1))
    low, high = np.searchsorted(ticks, [first, first + count])
    others = np.setxor1d([minute_of(tick) for tick in found], ticks[low:high])
    return [EPOCH + timedelta(minutes=int(minute)) for minute in others]


def assert_neighbours(cron: Cron | Periods, ticks: Minutes, minutes: list[int]) -> None:
    """Hold `floor` and `after` of some minutes to the ticks around them."""
    for minute in minutes:
        place = int(np.searchsorted(ticks, minute, "right"))
        instant = EPOCH + timedelta(minutes=minute, seconds=minute % 60)
        if 0 < place < len(ticks):
            found = minute_of(cron.floor(instant)), minute_of(cron.after(instant))
            assert found == (ticks[place - 1], ticks[place])
