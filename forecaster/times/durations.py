"""Durations as text, and the step of a grid.

Two spellings are read: Prometheus (`15m`, `1h30m`, `7d`) and ISO 8601 (`PT15M`, `P7D`). A bare
number is an error, because its unit is unknown.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)
MEAN_MONTH = timedelta(days=30.436875)
"""A twelfth of the mean Gregorian year."""

_MICROSECONDS = {
    "y": 365 * 86_400_000_000,
    "w": 7 * 86_400_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_PROMETHEUS = re.compile(
    "".join(rf"(?:(?P<{unit}>[0-9]+){unit}(?![a-z]))?" for unit in _MICROSECONDS)
)
_ISO = re.compile(
    r"P(?:(?P<w>[0-9]+)W)?(?:(?P<d>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<h>[0-9]+)H)?(?:(?P<m>[0-9]+)M)?"
    r"(?:(?P<s>[0-9]+)(?:\.(?P<fraction>[0-9]{1,6}))?S)?)?"
)
_MONTHS = re.compile(
    r"(?:P(?=[0-9])(?:(?P<iso_years>[0-9]+)Y)?(?:(?P<iso_months>[0-9]+)M)?)"
    r"|(?=[0-9])(?:(?P<years>[0-9]+)y)?(?:(?P<months>[0-9]+)mo)?"
)
_MAX_DIGITS = 18
_ROUND = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 360, 1440))
_MAX_MONTHS = 12_000


def parse_duration(text: str) -> timedelta:
    """Read `15m`, `1h30m`, `500ms`, `2w`, `PT15M` or `P7D`; as in Prometheus, `1y` is 365 days.

    Raises ValueError with what was expected and what was found.
    """
    if _MONTHS.fullmatch(text) and not text.endswith("y"):
        raise ValueError(_expected("a length of time in weeks, days or less, such as 30d", text))
    return _parse(text, "a duration such as 15m, 1h30m, 7d or PT15M")


def _parse(text: str, form: str) -> timedelta:
    """Read a duration without months; `form` describes what is expected, for the error."""
    if re.fullmatch(r"[+-]?[0-9.]+", text):
        raise ValueError(_expected("a number with its unit, such as 15m, 1h30m or 7d", text))
    if text.startswith("-"):
        raise ValueError(_expected("a duration that is not negative, such as 15m", text))
    match = _PROMETHEUS.fullmatch(text) or _ISO.fullmatch(text)
    groups = match.groupdict() if match else {}
    amounts = {unit: digits for unit, digits in groups.items() if digits is not None}
    if not amounts or max(map(len, amounts.values())) > _MAX_DIGITS:
        raise ValueError(_expected(form, text))
    total = int(amounts.pop("fraction", "").ljust(6, "0"))
    total += sum(int(digits) * _MICROSECONDS[unit] for unit, digits in amounts.items())
    try:
        return timedelta(microseconds=total)
    except OverflowError:
        raise ValueError(_expected("a duration of at most 999999999d", text)) from None


def format_duration(duration: timedelta) -> str:
    """Write a duration that is not negative so that `parse_duration` reads it back exactly."""
    rest = duration // MICROSECOND
    if rest < 0:
        raise ValueError(f"must not be negative, found {duration}")
    if rest and rest % _MICROSECONDS["w"] == 0:
        return f"{rest // _MICROSECONDS['w']}w"
    parts = []
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _MICROSECONDS[unit])
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts) or "0s"


def rounded_up(length: timedelta) -> timedelta:
    """Return the duration rounded up to a round number."""
    unit = max((unit for unit in _ROUND if 4 * unit <= length), default=_ROUND[0])
    return -(-length // unit) * unit


def rough(length: timedelta) -> str:
    """Return a duration in whole minutes, or seconds if it is short."""
    unit = timedelta(minutes=1) if length >= timedelta(minutes=10) else timedelta(seconds=1)
    return format_duration(max(length, timedelta()) // unit * unit)


@dataclass(frozen=True, slots=True)
class Step:
    """The distance between two grid instants: `count` units.

    Days and months are calendar units, whose length depends on the time zone; everything else is
    counted in microseconds.
    """

    count: int
    unit: Literal["microsecond", "day", "month"]

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"must be longer than zero, found {self.count} {self.unit}")

    @classmethod
    def parse(cls, text: str) -> "Step":
        """Read `5m`, `1h`, `1d`, `1w`, `1mo`, `P1M` or `1y`; whole days are calendar days.

        Raises ValueError with what was expected and what was found.
        """
        if (match := _MONTHS.fullmatch(text)) and len(text) <= _MAX_DIGITS:
            years = int(match["iso_years"] or match["years"] or 0)
            months = int(match["iso_months"] or match["months"] or 0)
            return _positive(12 * years + months, "month", text)
        duration = _parse(text, "a duration in whole units, such as 5m, 1h, 1d, 1w, 1mo, P1M or 1y")
        if duration % DAY:
            return _positive(duration // MICROSECOND, "microsecond", text)
        return _positive(duration // DAY, "day", text)

    def __str__(self) -> str:
        if self.unit == "month":
            return f"{self.count}mo" if self.count % 12 else f"{self.count // 12}y"
        return format_duration(self.approximate)

    @property
    def is_calendar(self) -> bool:
        """Whether the step follows the calendar of a time zone."""
        return self.unit != "microsecond"

    @property
    def approximate(self) -> timedelta:
        """The mean length: exact but for months, and for days across a clock change."""
        lengths = {"microsecond": MICROSECOND, "day": DAY, "month": MEAN_MONTH}
        return self.count * lengths[self.unit]

    def steps_in(self, duration: "str | Step") -> int:
        """Count the steps in a duration; raise ValueError unless they fill it exactly."""
        other = duration if isinstance(duration, Step) else Step.parse(duration)
        same_unit = other.unit == self.unit
        whole_days = other.unit == "day" and self.unit == "microsecond"
        length = other.count if same_unit else other.approximate // MICROSECOND
        if not (same_unit or whole_days) or length % self.count:
            raise ValueError(_expected(f"a whole number of steps of {self}", str(duration)))
        return length // self.count


def _positive(count: int, unit: Literal["microsecond", "day", "month"], text: str) -> Step:
    if count < 1:
        raise ValueError(_expected("longer than zero", text))
    if unit == "month" and count > _MAX_MONTHS:
        raise ValueError(_expected("at most 1000y", text))
    return Step(count, unit)


def _expected(rule: str, text: str) -> str:
    return f"must be {rule}, found {text!r}"
