"""Instants from the numbers of a column, by the column as a whole.

Two meanings are unambiguous. Seconds, milliseconds, microseconds or nanoseconds since 1970,
distinguished by magnitude, where most numbers are not as small as seconds of 1966 to 1973 would be.
And dates and times of day whose digits are written together (20241001, 202410010930), where most
are such. Day numbers, counters, years and other small numbers are rejected, with what they might
mean.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from forecaster.errors import DataError
from forecaster.times.local_time import DAY_MICROSECONDS, ParsedTimes, no_marks, no_times

DIGITS = (8, 10, 12, 14)
"""Of YYYYMMDD, and of the same with hours, minutes and seconds."""

_EPOCH_UNITS = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
"""Below the magnitude, one counts this many microseconds; above the last, 1000 make one."""
_LARGE = 1e8
"""Seconds since 1970 of this magnitude are in 1973 or later, or in 1966 or earlier."""
_FIRST_YEAR, _LAST_YEAR = 1900, 2199
_FIRST_HOURS = 1970
"""YYYYMMDDHH of earlier years are seconds since 1970 of up to the year 2032."""
_TO_HOURS = 10
_PLACEHOLDER_YEAR = 9999
_FAR = 2 * 7_258_118_400_000_000
"""Microseconds where no instant is: the reader counts them as out of range."""
_MEANT = (1990, 2050)
"""Years of dates that are suggested as the meaning of a number."""


class _Kinds(NamedTuple):
    """Distinct numbers of a column by what they may be; placeholders are not `small`."""

    known: pl.Series
    large: pl.Series
    small: pl.Series
    digits: int | None
    """Of dates, where most of the numbers are dates with so many digits."""

    @property
    def is_certain(self) -> bool:
        is_known = self.digits is not None or len(self.large) >= max(1, len(self.small))
        return is_known or self.known.is_empty()


def read(raw: pl.Series) -> ParsedTimes:
    """Read a numeric column: ambiguous are numbers that look like dates among seconds since 1970.

    DataError where it is not certain what most of its numbers mean.
    """
    numbers = raw.cast(pl.Int64 if raw.dtype.is_integer() else pl.Float64, strict=False)
    kinds = _kinds(numbers)
    absent, no = no_times(len(numbers)), no_marks(len(numbers))
    if not kinds.is_certain:
        raise ambiguity_error(raw)
    if kinds.digits is not None:
        return ParsedTimes(absent, _dates(numbers, kinds.digits), no)
    look_like_dates = 2 * _is_date(kinds.small, DIGITS[0]).sum() > len(kinds.small)
    is_ambiguous = numbers.is_in(kinds.small.implode()).fill_null(False) if look_like_dates else no
    utc = _since_1970(numbers, kinds.large)
    return ParsedTimes(utc.set(is_ambiguous, None), absent, is_ambiguous)


def is_certain(numbers: Iterable[Any]) -> bool:
    """Return whether such numbers, of any type and a sample of a column, would be read."""
    return _kinds(_sample(numbers)).is_certain


def may_be_instants(numbers: Iterable[Any]) -> bool:
    """Return whether any of these numbers would be read if all were like it."""
    return any(is_certain([number]) for number in numbers)


def ambiguity_error(numbers: pl.Series | Iterable[Any], name: str | None = None) -> DataError:
    """Return the error for ambiguous numbers, with some of their meanings."""
    column = numbers if isinstance(numbers, pl.Series) else _sample(numbers)
    known = column.cast(pl.Float64, strict=False)
    ordered = known.filter(known.is_finite().fill_null(False)).unique().sort()
    number = ordered[len(ordered) // 2] if len(ordered) else 0.0
    shown = f"{number:.15g}"
    seconds = _date(number / 86_400)
    others = "".join(f"; as {what} {shown} is {at}" for what, at in _meanings(number))
    return DataError(
        f"numbers in {name or column.name!r} are ambiguous as timestamps, such as {shown}: "
        f"as seconds since 1970 it is {seconds}{others}",
        hint="convert them to timestamps in the query or file, or set "
        'timestamp_format = "%Y" for 2024, "%Y%m" for 202410, "%s" for seconds since 1970',
    )


def _sample(numbers: Iterable[Any]) -> pl.Series:
    return pl.Series([float(number) for number in numbers], dtype=pl.Float64)


def _kinds(numbers: pl.Series) -> _Kinds:
    known = numbers.drop_nulls().unique()
    if known.dtype == pl.Float64:
        known = known.filter(known.is_finite())
    size, meaningful = known.cast(pl.Float64).abs(), known.filter((known != 0) & (known != -1))
    return _Kinds(
        known=known,
        large=known.filter(size >= _LARGE),
        small=meaningful.filter(meaningful.cast(pl.Float64).abs() < _LARGE),
        digits=next((digits for digits in DIGITS if _are_dates(meaningful, digits)), None),
    )


def _are_dates(numbers: pl.Series, digits: int) -> bool:
    """Return whether most numbers are dates with so many digits, placeholders not counted."""
    years = numbers // 10 ** (digits - 4)
    checked = numbers.filter(years != _PLACEHOLDER_YEAR)
    if 2 * years.is_between(_FIRST_YEAR, _LAST_YEAR).sum() <= len(checked):
        return False  # to parse them would take longer
    certain = _is_date(checked, digits)
    if digits == _TO_HOURS:
        certain &= checked // 10**6 >= _FIRST_HOURS
    return bool(2 * certain.sum() > len(checked))


def _is_date(numbers: pl.Series, digits: int) -> pl.Series:
    is_date: pl.Series = _dates(numbers, digits) != _FAR
    return is_date.fill_null(False)


def _dates(numbers: pl.Series, digits: int) -> pl.Series:
    """Return the wall clock of digits of a date: null for no date, _FAR for another year."""
    is_whole = numbers.is_between(-(2**62), 2**62) & (numbers == numbers.floor())
    integers = numbers.set(~is_whole.fill_null(False), None).cast(pl.Int64)
    is_near = (integers // 10 ** (digits - 4)).is_between(_FIRST_YEAR, _LAST_YEAR)
    near = integers.set(~is_near.fill_null(False), None) * 10 ** (14 - digits)
    is_end = (near % 10**6 == 240_000).fill_null(False)  # 24:00 is the next midnight
    written = (near - 240_000).zip_with(is_end, near).cast(pl.String)
    parsed = written.str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="us").to_physical()
    wall: pl.Series = (parsed + DAY_MICROSECONDS).zip_with(is_end, parsed)
    return wall.set(~is_near.fill_null(True), _FAR)


def _since_1970(numbers: pl.Series, large: pl.Series) -> pl.Series:
    """Convert numbers to microseconds, each in the unit that its magnitude implies.

    Where small ones are in no range of their own unit, they are in that of the largest, as
    milliseconds of the years from 1966 to 1973 are.
    """
    known = _by_magnitude(large, 0)
    is_inside = known.abs() < _FAR // 2
    unit = max(_unit(large.filter(is_inside)), default=0)
    below = large.filter(_unit(large) < unit)
    outside = (_by_magnitude(below, 0).abs() >= _FAR // 2).sum()
    return _by_magnitude(numbers, unit if 2 * outside > len(below) else 0)


def _unit(numbers: pl.Series) -> pl.Series:
    """Return by magnitude: 0 for seconds, to 3 for nanoseconds."""
    size = numbers.cast(pl.Float64).abs()
    units = [(size >= limit).cast(pl.Int8) for limit, _ in _EPOCH_UNITS]
    return units[0] + units[1] + units[2]


def _by_magnitude(numbers: pl.Series, least: int) -> pl.Series:
    """Convert numbers to microseconds, small ones in the unit `least`."""
    size = numbers.cast(pl.Float64).abs()
    microseconds = (numbers // 1_000).cast(pl.Int64, strict=False)
    for limit, factor in reversed(_EPOCH_UNITS[least:]):
        scaled = numbers.clip(-limit, limit) * factor
        rounded = scaled if numbers.dtype == pl.Int64 else scaled.round()
        microseconds = rounded.cast(pl.Int64, strict=False).zip_with(size < limit, microseconds)
    return microseconds


def _meanings(number: float) -> Iterator[tuple[str, str]]:
    """Yield what else a number may mean, and the date that it would be."""
    year, month = divmod(number, 100)
    if _is_date(_sample([number]), DIGITS[0]).any():
        yield "YYYYMMDD", f"{number:.0f}"
    if _FIRST_YEAR <= number <= _LAST_YEAR:
        yield "a year", f"{number:g}"
    if _FIRST_YEAR <= year <= _LAST_YEAR and 1 <= month <= _MONTHS:
        yield "YYYYMM", f"{year:g}-{month:02g}"
    for what, days, start in _COUNTS:
        at = start + number * days
        if _MEANT[0] <= 1970 + at / 365.25 <= _MEANT[1]:
            yield what, _date(at)


def _date(days: float) -> str:
    """Return the date so many days after 1970."""
    return str((_EPOCH + timedelta(days=max(-_MOST_DAYS, min(days, _MOST_DAYS)))).date())


_MONTHS, _MOST_DAYS = 12, 700_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTS = (
    ("minutes since 1970", 1 / 1_440, 0),
    ("hours since 1970", 1 / 24, 0),
    ("days since 1970", 1, 0),
    ("days of a spreadsheet", 1, -25_569),
    ("a Julian day", 1, -2_440_587.5),
)
"""Units that numbers count, in days, and from which day after 1970 on."""
