"""From a time on the wall clock of a zone to the instants at which it shows that time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)


def instants(wall: datetime, *, follows_real_time: bool) -> tuple[datetime, ...]:
    """Return when the clock of its zone shows `wall`, in UTC.

    A time that comes twice has two instants, and one that is skipped none, if schedules follow real
    time. Else each has one: the first, or the end of the jump.
    """
    first, second = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    if first == second:
        return (first,)
    is_skipped = first > second
    if follows_real_time:
        return () if is_skipped else (first, second)
    return (_jump(wall.tzinfo, second, first),) if is_skipped else (first,)


def first_instant(wall: datetime) -> datetime:
    """Return the first instant, in UTC, at which the clock of its zone shows `wall`, or later."""
    return instants(wall, follows_real_time=False)[0]


def _jump(zone: object, before: datetime, after: datetime) -> datetime:
    """Return the instant in between at which the clock of the zone jumps, to the second."""
    assert isinstance(zone, ZoneInfo)
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
