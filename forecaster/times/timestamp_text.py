"""Timestamps in text: to instants, or to times on a wall clock.

Unambiguous text is read, with or without leading zeros: ISO 8601 in its forms, dates
with the year first, English names of months, quarters, ISO weeks. Day and month in numbers with
the year last, and years of two digits, are ambiguous: these are rejected, never guessed.
"""

from collections.abc import Mapping

import polars as pl

from forecaster.times import timestamp_formats
from forecaster.times.local_time import ParsedTimes, first_of, no_marks, no_times
from forecaster.times.timestamp_formats import HALF, MONTH, MONTHS, OFFSET, UTC, WEEKDAY

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND

_DATE_TEXT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME_TEXT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
_UTC_TEXT = r" ?(?:[zZ]|UTC|[+-]00(?::?00)?)$"
_OFFSET_TEXT = r" ?[+-][0-9]{2}(?::?[0-9]{2})?$"
_NAIVE_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
_AWARE_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z")

_YEAR = "(?P<year>[0-9]{4})"
_PADDED = _YEAR + "(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
_NUMBERS = "(?P<month>[0-9]{1,2})%s(?P<day>[0-9]{1,2})"
_DAY_NUMBER = "(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_DATES = (
    *(_YEAR + sign + _NUMBERS % sign for sign in ("-", "/", r"\.")),
    rf"(?:{WEEKDAY},? )?{_DAY_NUMBER}[ /-]?{MONTH}\.?,?[ /-]?{_YEAR}",
    rf"(?:{WEEKDAY},? )?{MONTH}\.?[ /-]{{1,2}}{_DAY_NUMBER}(?:, ?|[ /-]){_YEAR}",
    rf"{_YEAR}[ /-]?{MONTH}[ /-]?(?P<day>[0-9]{{1,2}})",
    rf"{_YEAR}-[Ww](?P<week>[0-9]{{1,2}})-(?P<weekday>[1-7])",
    rf"{_YEAR}[Ww](?P<week>[0-9]{{2}})(?P<weekday>[1-7])",
)
_SPANS = (
    rf"{_YEAR}-(?P<month>[0-9]{{2}})",
    rf"{MONTH}[ /-]{_YEAR}",
    rf"{_YEAR}[ /-]{MONTH}",
    rf"{_YEAR}[ -]?[Qq](?P<quarter>[1-4])",
    rf"[Qq](?P<quarter>[1-4])[ /-]{_YEAR}",
    rf"{_YEAR}-?[Ww](?P<week>[0-9]{{2}})",
    rf"{_YEAR}-[Ww](?P<week>[0-9])",
)
"""Months, quarters and weeks, which mean their first day."""

_FRACTION = r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
_CLOCK = (
    rf"(?P<hour>[0-9]{{1,2}}):(?P<minute>[0-9]{{2}})(?::(?P<second>[0-9]{{2}}){_FRACTION})?"
    rf"(?: ?{HALF})?"
)
_DIGITS = rf"(?P<hour>[0-9]{{2}})(?:(?P<minute>[0-9]{{2}})(?:(?P<second>[0-9]{{2}}){_FRACTION})?)?"
_ZONE = rf"(?: ?(?:{UTC}|{OFFSET})(?: ?\[[A-Za-z0-9_/+-]{{1,64}}\])?)?"
_BETWEEN = "(?:[Tt:]|,? {1,4})"
_SHAPES = (
    *(rf"^{date}(?:{_BETWEEN}{_CLOCK}{_ZONE})?$" for date in _DATES),
    *(rf"^{date}[Tt]{_DIGITS}{_ZONE}$" for date in _DATES),
    rf"^{_PADDED}(?:[Tt]|,? {{1,4}}){_CLOCK}{_ZONE}$",
    rf"^{_PADDED}(?:[Tt]| ){_DIGITS}{_ZONE}$",
    *(rf"^{span}$" for span in _SPANS),
)
AMBIGUOUS = (
    r"^[0-9]{1,2}[/.-] ?[0-9]{1,2}[/.-] ?(?:[0-9]{4}|[0-9]{2})(?:[^0-9].*)?$",
    r"^[0-9]{1,2}[ /-]?" + MONTH.replace("?P<name>", "?:") + r"[ /-]?[0-9]{2}(?:[^0-9].*)?$",
)
"""Day and month in either order, or a year that may be a day."""

_MILLENNIUM = 69
"""Years of two digits from here on belong to the last century, as in POSIX."""


def read(text: pl.Series, declared: str | None) -> ParsedTimes:
    """Read text without blanks around it, in the `declared` format alone where there is one."""
    if declared is not None:
        return _read_shapes(text, (timestamp_formats.expression(declared),))
    utc, wall, left = no_times(len(text)), no_times(len(text)), text
    for shape, convert, is_instant in _USUAL:
        fits = left.str.contains(shape).fill_null(False)
        if fits.any():
            converted = convert(left.set(~fits, None))
            utc, wall = (
                (first_of(utc, converted), wall) if is_instant else (utc, first_of(wall, converted))
            )
            left = left.set(converted.is_not_null(), None)
    if left.null_count() == len(left):
        return ParsedTimes(utc, wall, no_marks(len(text)))
    other = _read_shapes(left, _SHAPES)
    is_ambiguous = left.set(other.utc.is_not_null() | other.wall.is_not_null(), None)
    either = [is_ambiguous.str.contains(shape).fill_null(False) for shape in AMBIGUOUS]
    return ParsedTimes(first_of(utc, other.utc), first_of(wall, other.wall), either[0] | either[1])


def _read_utc(text: pl.Series) -> pl.Series:
    return _read_clock(text.str.replace(_UTC_TEXT, ""))


def _read_offset(text: pl.Series) -> pl.Series:
    return _parse(_spaced(text.str.replace(r" ([+-])", "$1")), _AWARE_FORMATS)


def _read_clock(text: pl.Series) -> pl.Series:
    return _parse(_spaced(text), _NAIVE_FORMATS)


def _read_date(text: pl.Series) -> pl.Series:
    return _days(text, "%Y-%m-%d") * _DAY


_USUAL = (
    (_TIME_TEXT + _UTC_TEXT, _read_utc, True),
    (_TIME_TEXT + _OFFSET_TEXT, _read_offset, True),
    (_TIME_TEXT + "$", _read_clock, False),
    (_DATE_TEXT, _read_date, False),
)
"""What most text looks like, read fast: what reads it, and whether it is an instant."""


def _spaced(text: pl.Series) -> pl.Series:
    return text.str.replace("T", " ", literal=True)


def _parse(text: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Parse with the first format, and what it leaves over with the next ones."""
    first, *others = formats
    parsed = text.str.to_datetime(first, strict=False, time_unit="us").to_physical()
    left = (parsed.is_null() & text.is_not_null()).arg_true()
    if left.is_empty() or not others:
        return parsed
    return parsed.scatter(left, _parse(text.gather(left), tuple(others)))


def _read_shapes(text: pl.Series, shapes: tuple[str, ...]) -> ParsedTimes:
    """Read each row by the first shape that fits it."""
    utc, wall, left = no_times(len(text)), no_times(len(text)), text
    for shape in shapes:
        places = left.str.contains(shape).fill_null(False).arg_true()
        if places.is_empty():
            continue
        parts = left.gather(places).str.extract_groups(shape).struct.unnest()
        microseconds, is_instant = _composed({part.name: part for part in parts})
        utc = utc.scatter(places, microseconds.set(~is_instant, None))
        wall = wall.scatter(places, microseconds.set(is_instant, None))
        left = left.scatter(places, text.gather(places).set(microseconds.is_not_null(), None))
    return ParsedTimes(utc, wall, no_marks(len(text)))


def _composed(parts: Mapping[str, pl.Series]) -> tuple[pl.Series, pl.Series]:
    """Return microseconds, null where the parts are no time, and whether they are in UTC."""
    length = len(next(iter(parts.values())))
    none = pl.Series([None], dtype=pl.String).new_from_index(0, length)
    numbers = {
        name: parts.get(name, none).cast(pl.Int64, strict=False)
        for name in ("hour", "minute", "second", "epoch")
    }
    zone = parts.get("utc", none).is_not_null() | parts.get("offset", none).is_not_null()
    if "epoch" in parts:
        return numbers["epoch"] * _SECOND, pl.Series([True]).new_from_index(0, length)
    fraction = parts.get("fraction", none).fill_null("").str.pad_end(9, "0").cast(pl.Int64) // 1_000
    hour, minute, second = (numbers[name].fill_null(0) for name in ("hour", "minute", "second"))
    hour, is_hour = _on_the_clock(hour, parts.get("half", none))
    since_midnight = (hour * 3_600 + minute * 60 + second) * _SECOND + fraction
    is_clock = is_hour & (minute < 60) & (second <= 60) & ((hour < 24) | (since_midnight == _DAY))
    shift, is_shift = _shift(parts.get("offset", none))
    microseconds = _date(parts) * _DAY + since_midnight - shift
    return microseconds.set(~(is_clock & is_shift), None), zone


def _on_the_clock(hour: pl.Series, half: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return hours from 0 on, and which are hours: 1 to 12 beside AM and PM, 24 a midnight."""
    is_halved = half.is_not_null()
    afternoon = half.str.to_lowercase().eq("p").fill_null(False).cast(pl.Int64) * 12
    is_hour = ~is_halved & (hour <= 24) | is_halved & hour.is_between(1, 12)
    return (hour % 12 + afternoon).zip_with(is_halved, hour), is_hour


def _shift(offset: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return microseconds east of UTC, and which offsets there are: less than a day."""
    digits = offset.str.replace_all(r"[^0-9]", "")
    is_odd = (digits.str.len_chars() % 2 == 1).fill_null(False)
    digits = ("0" + digits).zip_with(is_odd, digits)
    hours = digits.str.slice(0, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = digits.str.slice(2).cast(pl.Int64, strict=False).fill_null(0)
    sign = offset.str.starts_with("+").fill_null(True).cast(pl.Int64) * 2 - 1
    return sign * (hours * 60 + minutes) * 60 * _SECOND, (hours < 24) & (minutes < 60)


def _date(parts: Mapping[str, pl.Series]) -> pl.Series:
    """Return days since 1970; null where there is no such day."""
    year = _year(parts)
    if "week" in parts:
        week = year + "-W" + parts["week"].str.zfill(2)
        if "weekday" not in parts:
            return _days(week + "-1", "%G-W%V-%u")
        return _days(week + "-" + parts["weekday"], "%G-W%V-%u")
    if "yearday" in parts:
        return _days(year + "-" + parts["yearday"].str.zfill(3), "%Y-%j")
    return _days(year + "-" + _month(parts).str.zfill(2) + _day(parts), "%Y-%m-%d")


def _year(parts: Mapping[str, pl.Series]) -> pl.Series:
    if "year" in parts:
        return parts["year"]
    short = parts["short_year"].cast(pl.Int64)
    return (short + 1900 + (short < _MILLENNIUM).cast(pl.Int64) * 100).cast(pl.String)


def _month(parts: Mapping[str, pl.Series]) -> pl.Series:
    if "quarter" in parts:
        return (parts["quarter"].cast(pl.Int64) * 3 - 2).cast(pl.String)
    if parts.keys() == {"year"}:
        return pl.Series(["01"]).new_from_index(0, len(parts["year"]))
    if "name" not in parts:
        return parts["month"]
    numbers = {name: str(place) for place, name in enumerate(MONTHS, start=1)}
    return parts["name"].str.to_lowercase().str.slice(0, 3).replace_strict(numbers)


def _day(parts: Mapping[str, pl.Series]) -> pl.Series:
    if "day" not in parts:
        return pl.Series(["-01"]).new_from_index(0, len(next(iter(parts.values()))))
    return "-" + parts["day"].str.zfill(2)


def _days(text: pl.Series, form: str) -> pl.Series:
    dates = text.str.to_date(form, strict=False)
    return dates.to_physical().cast(pl.Int64).clip(-(10**6), 10**6)
