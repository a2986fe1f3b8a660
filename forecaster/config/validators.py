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
Reader = Callable[[object], T]

LONGEST = timedelta(days=73_050)
"""200 years: subtracted from any instant of data, the result is still in the calendar."""

_SHORTEST_STEP, _LONGEST_STEP = timedelta(milliseconds=1), timedelta(days=3_653)
LARGEST = 2**31 - 1
FOREVER = "forever"


class InvalidSetting(ValueError):
    """A value that breaks a rule; `actual` replaces the value where that must not be shown."""

    def __init__(self, rule: str, *, actual: str | None = None, near: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.actual = actual
        self.suggestion = f"; did you mean {near!r}?" if near else ""


def read_with(read: Reader[T], value: object) -> T:
    """Return what a reader makes of a value; the only error is InvalidSetting."""
    try:
        return read(value)
    except InvalidSetting:
        raise
    except ValueError as error:
        rule, _, part = str(error).partition(", found ")
        actual = re.sub(r"://.*", "://…", part, flags=re.DOTALL)
        raise InvalidSetting(rule, actual=None if part == repr(value) else actual) from None


def where(read: Reader[T], holds: Callable[[T], object], rule: str) -> Reader[T]:
    """Return a reader of what `read` reads and `holds` is true of; `rule` is for other values."""

    def read_where(value: object) -> T:
        parsed = read(value)
        if not holds(parsed):
            raise InvalidSetting(rule)
        return parsed

    return read_where


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


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise InvalidSetting("must be true or false")
    return value


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise InvalidSetting('must be a duration with its unit, such as "15m"')
    return parse_duration(value)


def at_most(most: timedelta, read: Reader[timedelta], what: str = "") -> Reader[timedelta]:
    """Return a reader of durations up to `most`, which is `what`."""
    rule = f"must be at most {what}{format_duration(most)}"
    return where(read, lambda length: length <= most, rule)


duration = at_most(LONGEST, _duration)
positive_duration = where(duration, bool, "must be longer than zero")


def retention(value: object) -> timedelta | None:
    """Read how long to keep rows; `forever` is None."""
    return None if value == FOREVER else positive_duration(value)


def opening_hours(value: object) -> str:
    """Read opening hours, in their canonical form; or `auto` or `always`."""
    if text(value) in ("auto", "always"):
        return str(value)
    hours = OpeningHours.parse(str(value))
    return "always" if hours.is_always else str(hours)


def _step(value: object) -> Step:
    if not isinstance(value, str):
        example = '"15m", "1h", "1d", "1w" or "1mo"'
        raise InvalidSetting(f"must be a duration with its unit, such as {example}")
    return Step.parse(value)


step = where(
    _step,
    lambda step: _SHORTEST_STEP <= step.approximate <= _LONGEST_STEP,
    "must be from 1ms to 10y",
)
period = where(_step, lambda step: step.approximate <= LONGEST, "must be at most 200y")
"""Reads how far apart the ticks of a schedule are: days and longer are those of a calendar."""


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


def number_between(low: float, high: float) -> Reader[float]:
    """Return a reader of numbers from `low` to below `high`."""
    return where(number, lambda at: low <= at < high, f"must be from {low:g} to below {high:g}")


share = where(number, lambda part: 0 <= part <= 1, "must be from 0 to 1")


def count_between(low: int, high: int) -> Reader[int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidSetting(f"must be a whole number from {low} to {high}")
        return value

    return read


def one_of(allowed: tuple[str, ...]) -> Reader[str]:
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
