"""Readers of settings: each returns a checked value, or raises ValueError with what is expected."""

import difflib
import math
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from typing import TypeVar
from zoneinfo import available_timezones

from forecaster.times import timestamp_formats
from forecaster.times.durations import Step, format_duration, parse_duration
from forecaster.times.opening_hours import OpeningHours

T = TypeVar("T")

LONGEST = timedelta(days=73_050)
"""200 years: subtracted from any instant of data, the result is still in the calendar."""

LARGEST = 2**31 - 1
FOREVER = "forever"


class InvalidSetting(ValueError):
    """A value that breaks a rule; `actual` replaces the value where that must not be shown."""

    def __init__(self, rule: str, *, actual: str | None = None, near: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.actual = actual
        self.suggestion = f"; did you mean {near!r}?" if near else ""


def read_with(read: Callable[[object], T], value: object) -> T:
    """Return what a reader makes of a value; the only error is InvalidSetting."""
    try:
        return read(value)
    except InvalidSetting:
        raise
    except ValueError as error:
        rule, _, part = str(error).partition(", found ")
        actual = re.sub(r"://.*", "://…", part, flags=re.DOTALL)
        raise InvalidSetting(rule, actual=None if part == repr(value) else actual) from None


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant; None for what is no text."""
    if not isinstance(word, str):
        return None
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold()[:80], by_folded, n=1)
    return by_folded[close[0]] if close else None


def text(value: object) -> str:
    """Read text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidSetting("must be text")
    return value


def matching(pattern: str, rule: str) -> Callable[[object], str]:
    """Return a reader of text that matches `pattern`."""

    def read(value: object) -> str:
        if not re.fullmatch(pattern, text(value)):
            raise InvalidSetting(rule)
        return str(value)

    return read


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise InvalidSetting("must be true or false")
    return value


def duration(value: object) -> timedelta:
    """Read a duration of zero or more."""
    if not isinstance(value, str):
        raise InvalidSetting('must be a duration with its unit, such as "15m"')
    parsed = parse_duration(value)
    if parsed > LONGEST:
        raise InvalidSetting(f"must be at most {format_duration(LONGEST)}")
    return parsed


def positive_duration(value: object) -> timedelta:
    """Read a duration longer than zero."""
    parsed = duration(value)
    if not parsed:
        raise InvalidSetting("must be longer than zero")
    return parsed


def lease_time(value: object) -> timedelta:
    """Read how long a lease lasts."""
    ttl = duration(value)
    if not timedelta(seconds=1) <= ttl <= timedelta(minutes=10):
        raise InvalidSetting("must be from 1s to 10m")
    return ttl


def retention(value: object) -> timedelta | None:
    """Read how long to keep rows; `forever` is None."""
    return None if value == FOREVER else positive_duration(value)


def up_to(
    most: timedelta, rule: str, read: Callable[[object], timedelta]
) -> Callable[[object], timedelta]:
    """Return a reader of durations that are not above `most`; `rule` says so."""

    def read_up_to(value: object) -> timedelta:
        parsed = read(value)
        if parsed > most:
            raise InvalidSetting(f"must be {rule}")
        return parsed

    return read_up_to


def opening_hours(value: object) -> str:
    """Read opening hours, in their canonical form; or `auto` or `always`."""
    if text(value) in ("auto", "always"):
        return str(value)
    hours = OpeningHours.parse(str(value))
    return "always" if hours.is_always else str(hours)


def period(value: object) -> Step:
    """Read how far apart the ticks of a schedule are: days and longer are those of a calendar."""
    parsed = _step(value)
    if parsed.approximate > LONGEST:
        raise InvalidSetting("must be at most 200y")
    return parsed


def step(value: object) -> Step:
    """Read the step of a grid."""
    parsed = _step(value)
    if not timedelta(milliseconds=1) <= parsed.approximate <= timedelta(days=3_653):
        raise InvalidSetting("must be from 1ms to 10y")
    return parsed


def _step(value: object) -> Step:
    if not isinstance(value, str):
        example = '"15m", "1h", "1d", "1w" or "1mo"'
        raise InvalidSetting(f"must be a duration with its unit, such as {example}")
    return Step.parse(value)


def number(value: object) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidSetting("must be a number")
    try:
        parsed = float(value)
    except OverflowError:
        parsed = math.inf
    if not math.isfinite(parsed):
        raise InvalidSetting("must be a finite number")
    return parsed


def number_between(low: float, high: float) -> Callable[[object], float]:
    """Return a reader of numbers from `low` to below `high`."""

    def read(value: object) -> float:
        parsed = number(value)
        if not low <= parsed < high:
            raise InvalidSetting(f"must be from {low:g} to below {high:g}")
        return parsed

    return read


def share(value: object) -> float:
    """Read a share, from 0 to 1."""
    parsed = number(value)
    if not 0 <= parsed <= 1:
        raise InvalidSetting("must be from 0 to 1")
    return parsed


def count_between(low: int, high: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not isinstance(value, int) or not is_whole or not low <= value <= high:
            raise InvalidSetting(f"must be a whole number from {low} to {high}")
        return value

    return read


def one_of(allowed: tuple[str, ...]) -> Callable[[object], str]:
    """Return a reader of one of some words."""

    def read(value: object) -> str:
        if value not in allowed:
            rule = f"must be {' or '.join(map(repr, allowed))}"
            raise InvalidSetting(rule, near=nearest(value, allowed))
        return str(value)

    return read


def timezone(value: object) -> str:
    """Read the name of an IANA time zone."""
    name = text(value)
    if name not in _timezones():
        raise InvalidSetting("must be an IANA time zone", near=nearest(name, _timezones()))
    return name


@cache
def _timezones() -> frozenset[str]:
    # `localtime` and `Factory` are files beside the zones, but no zones.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def timestamp_format(value: object) -> str:
    """Read a format of timestamps in the directives of strptime."""
    timestamp_formats.expression(text(value))
    return str(value)


def column_names(value: object) -> tuple[str, ...]:
    """Read the name of a column, or an array of them."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidSetting("must be the name of a column, or an array of names")
    return tuple(names)
