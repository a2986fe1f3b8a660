"""Reading timestamps of any type, row by row, as instants in UTC.

Accepted: instants with a zone, naive ones and dates in a declared zone, text
(`forecaster.times.timestamp_text`), and unambiguous numbers
(`forecaster.times.timestamp_numbers`): since 1970, or dates whose digits are written together.
"""

from typing import NamedTuple

import polars as pl

from forecaster.errors import DataError
from forecaster.ingestion.series_keys import key_text
from forecaster.schemas import INSTANT
from forecaster.times import timestamp_numbers, timestamp_text
from forecaster.times.local_time import (
    DAY_MICROSECONDS,
    ParsedTimes,
    first_of,
    locate,
    no_marks,
    no_times,
    wall_clock,
)

EARLIEST = -2_208_988_800_000_000
"""1900-01-01: an earlier one is a placeholder such as 0001-01-01 or 1899-12-30."""

LATEST = 7_258_118_400_000_000
"""2200-01-01: from here on instants are placeholders such as 9999-12-31."""

_REPEATS = 4
"""Text that repeats as often, from series to series, is parsed once."""

_DIGITS = r"^-?[0-9]+(?:\.[0-9]*)?$"
"""Numbers in text."""


class Reading(NamedTuple):
    """Instants, null where there is none, and masks of the reasons; without one: unreadable."""

    timestamps: pl.Series
    is_missing: pl.Series
    is_naive: pl.Series
    is_nonexistent: pl.Series
    is_out_of_range: pl.Series
    is_ambiguous: pl.Series


class _Clock(NamedTuple):
    """The time zone of naive times, and whether they are the ends of periods."""

    timezone: str | None
    shows_ends: bool


def read_instants(
    raw: pl.Series, timezone: str | None, declared: str | None = None, *, ends: bool = False
) -> Reading:
    """Read a column of timestamps; `timezone` is that of naive ones.

    Text, and whole numbers, are read in the `declared` format only; without one, text may have any
    unambiguous form (`timestamp_text`).

    A naive time that happens twice means the first one. One that clocks skip does not exist,
    except for a midnight, which means the day and gives its first instant, and, where timestamps
    are the `ends` of periods, for the time at which clocks are put forward. Without a zone, naive
    ones among others are null. Raises DataError for a column that cannot hold timestamps, and for
    one that holds only naive ones and no zone is declared.
    """
    if declared is not None and raw.dtype.is_numeric():
        raw = key_text(raw)  # 202410.0 is 202410
    if raw.dtype != pl.String:
        return _read_each(raw, raw.is_null(), _Clock(timezone, ends), None)
    clock, text = _Clock(timezone, ends), raw.str.strip_chars()
    text = _only(text, text != "")
    if _REPEATS * text.to_frame().select(pl.all().approx_n_unique()).item() > len(text):
        return _read_each(text, text.is_null(), clock, declared)
    known = text.drop_nulls().unique(maintain_order=True)
    places = text.cast(pl.Enum(known)).to_physical()
    read = _read_each(known, known.is_null(), clock, declared)
    columns = pl.DataFrame(read._asdict())[places]
    return Reading(columns["timestamps"], text.is_null(), *columns[:, 2:].fill_null(False))


def _read_each(
    raw: pl.Series, is_missing: pl.Series, clock: _Clock, declared: str | None
) -> Reading:
    utc, wall, is_ambiguous = _read(raw, declared)
    is_naive = wall.is_not_null() if clock.timezone is None else no_marks(len(wall))
    if is_naive.any() and utc.null_count() == len(utc):
        raise _naive(wall.drop_nulls(), raw.name)
    localise = _localise_ends if clock.shows_ends else _localise
    local, is_nonexistent = localise(wall, clock.timezone or "UTC")
    microseconds = first_of(utc, local)
    usable = (microseconds >= EARLIEST) & (microseconds < LATEST)
    is_out_of_range = (~usable).fill_null(False)
    kept = (usable & ~is_nonexistent & ~is_naive).fill_null(False)
    timestamps = microseconds.set(~kept, None).cast(INSTANT)
    return Reading(timestamps, is_missing, is_naive, is_nonexistent, is_out_of_range, is_ambiguous)


def _read(raw: pl.Series, declared: str | None) -> ParsedTimes:
    dtype, absent, no = raw.dtype, no_times(len(raw)), no_marks(len(raw))
    if isinstance(dtype, pl.Datetime):
        read = _microseconds(raw.to_physical(), dtype.time_unit)
        is_zoned = dtype.time_zone is not None
        return ParsedTimes(read, absent, no) if is_zoned else ParsedTimes(absent, read, no)
    if dtype == pl.Date:
        days = raw.to_physical().cast(pl.Int64).clip(-(10**6), 10**6)
        return ParsedTimes(absent, days * DAY_MICROSECONDS, no)
    if dtype.is_numeric():
        return timestamp_numbers.read(raw)
    if dtype in (pl.String, pl.Null):
        return _read_text(raw.cast(pl.String), declared)
    raise DataError(
        f"column {raw.name!r} must hold timestamps, dates, ISO 8601 text or seconds since 1970, "
        f"found {dtype}"
    )


def _microseconds(physical: pl.Series, unit: str) -> pl.Series:
    """Convert to microseconds; what would overflow stays far out of range."""
    match unit:
        case "ns":
            return physical // 1_000
        case "ms":
            return physical.clip(-(10**14), 10**14) * 1_000
        case _:
            return physical


def _read_text(text: pl.Series, declared: str | None) -> ParsedTimes:
    if declared is not None:
        return timestamp_text.read(text, declared)
    is_number = text.str.contains(_DIGITS).fill_null(False)
    utc, wall, is_ambiguous = timestamp_text.read(_only(text, ~is_number), None)
    numbers = _only(text, is_number).cast(pl.Float64, strict=False)
    are_most = 2 * is_number.sum() > len(text) - text.null_count()
    is_alone = are_most and utc.null_count() == wall.null_count() == len(text)
    if not is_alone and not timestamp_numbers.is_certain(numbers.drop_nulls()):
        return ParsedTimes(utc, wall, is_ambiguous)
    parsed = timestamp_numbers.read(numbers)
    return ParsedTimes(
        first_of(utc, parsed.utc), first_of(wall, parsed.wall), is_ambiguous | parsed.is_ambiguous
    )


def _localise(wall: pl.Series, timezone: str) -> tuple[pl.Series, pl.Series]:
    """Return instants in microseconds, and which wall times no clock of the zone shows."""
    if wall.null_count() == len(wall):
        return wall, no_marks(len(wall))
    near = wall.clip(EARLIEST - DAY_MICROSECONDS, LATEST + DAY_MICROSECONDS)
    instants, skipped = locate(near, timezone)
    missed = near.gather(skipped)
    shown = wall_clock(instants.gather(skipped), timezone)
    is_midnight = (missed % DAY_MICROSECONDS == 0) & (
        missed == shown // DAY_MICROSECONDS * DAY_MICROSECONDS
    )
    is_skipped = no_marks(len(wall)).scatter(skipped, ~is_midnight)
    return instants.to_physical(), is_skipped


def _localise_ends(wall: pl.Series, timezone: str) -> tuple[pl.Series, pl.Series]:
    """Return `_localise` of the ends of periods: each just after the last moment of its period.

    So 02:00 is the instant at which clocks are put forward from 02:00 to 03:00, and 03:00 as well.
    """
    last, is_skipped = _localise(wall - 1, timezone)
    own, has_none = _localise(wall, timezone)
    return (last + 1).zip_with(~is_skipped, own), is_skipped & has_none


def _only(text: pl.Series, mask: pl.Series) -> pl.Series:
    return text.set(~mask, None)


def _naive(wall: pl.Series, column: str) -> DataError:
    example = wall.head(1).clip(EARLIEST, LATEST).cast(pl.Datetime("us")).item()
    return DataError(
        f"timestamps without an offset need a time zone, found {str(example)!r} in {column!r}",
        hint='set timezone = "Europe/Berlin", or "UTC", for the dataset',
    )
