"""Readers of settings: each turns a raw value into a checked one, or raises InvalidSetting."""

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

SHORTEST_LEASE, LONGEST_LEASE = timedelta(seconds=1), timedelta(minutes=10)
LONGEST_STEP = timedelta(days=3_653)
LARGEST = 2**31 - 1
FOREVER = "forever"


class InvalidSetting(ValueError):
    """A value that breaks a rule; `actual` replaces the value where that must not be shown."""

    def __init__(self, rule: str, *, actual: str | None = None, near: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.actual = actual
        self.suggestion = f"; did you mean {near!r}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold()[:80], by_folded, n=1)
    return by_folded[close[0]] if close else None


def text(value: object) -> str:
    """Read text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidSetting("must be text")
    return value


def user(value: object) -> str:
    """Read a name that can stand before the colon of basic authentication."""
    if ":" in text(value):
        raise InvalidSetting("must be text without a colon")
    return str(value)


def secret(value: object) -> str:
    """Read text that no error message may repeat."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidSetting("must be text", actual="something else")
    return value


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise InvalidSetting("must be true or false")
    return value


def _parsed(parse: Callable[[str], T], value: object, rule: str) -> T:
    """Return what `parse` reads in text; the rule that it names where it raises ValueError."""
    if not isinstance(value, str):
        raise InvalidSetting(rule)
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidSetting(str(error).partition(", found ")[0]) from None


def duration(value: object) -> timedelta:
    """Read a duration of zero or more."""
    parsed = _parsed(parse_duration, value, 'must be a duration with its unit, such as "15m"')
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
    if not SHORTEST_LEASE <= ttl <= LONGEST_LEASE:
        shortest, longest = map(format_duration, (SHORTEST_LEASE, LONGEST_LEASE))
        raise InvalidSetting(f"must be from {shortest} to {longest}")
    return ttl


def retention(value: object) -> timedelta | None:
    """Read how long to keep rows; `forever` is None."""
    return None if value == FOREVER else positive_duration(value)


def opening_hours(value: object) -> str:
    """Read opening hours, in their canonical form; or `auto` or `always`."""
    if text(value) in ("auto", "always"):
        return str(value)
    try:
        hours = OpeningHours.parse(str(value))
    except ValueError as error:
        rule, _, shown = str(error).partition(", found ")
        raise InvalidSetting(
            rule, actual=re.sub(r"://.*", "://…", shown, flags=re.DOTALL)
        ) from None
    return "always" if hours.is_always else str(hours)


def step(value: object) -> Step:
    """Read the step of a grid."""
    rule = 'must be a duration with its unit, such as "5m", "1h", "1d", "1w" or "1mo"'
    parsed = _parsed(Step.parse, value, rule)
    if not timedelta(milliseconds=1) <= parsed.approximate <= LONGEST_STEP:
        raise InvalidSetting("must be from 1ms to 10y")
    return parsed


def period(value: object) -> Step:
    """Read how far apart the ticks of a schedule are: days and longer are those of a calendar."""
    rule = 'must be a duration with its unit, such as "15m", "1h", "1d", "1w" or "1mo"'
    parsed = _parsed(Step.parse, value, rule)
    if parsed.approximate > LONGEST:
        raise InvalidSetting("must be at most 200y")
    return parsed


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
            near = nearest(value, allowed) if isinstance(value, str) else None
            raise InvalidSetting(f"must be {' or '.join(map(repr, allowed))}", near=near)
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
    declared = text(value)
    try:
        timestamp_formats.expression(declared)
    except ValueError as error:
        raise InvalidSetting(str(error)) from None
    return declared


def share(value: object) -> float:
    """Read a share, from 0 to 1."""
    parsed = number(value)
    if not 0 <= parsed <= 1:
        raise InvalidSetting("must be from 0 to 1")
    return parsed


def column_names(value: object) -> tuple[str, ...]:
    """Read the name of a column, or an array of them."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidSetting("must be the name of a column, or an array of names")
    return tuple(names)
