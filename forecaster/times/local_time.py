"""Wall clocks: from instants to what the clocks of a zone show, and back.

Wall times are microseconds (Int64) since 1970-01-01T00:00 as the clock shows it.
"""

from typing import NamedTuple

import polars as pl

from forecaster.schemas import INSTANT

DAY_MICROSECONDS = 86_400_000_000


class ParsedTimes(NamedTuple):
    """Microseconds (Int64) in UTC, or on the wall clock of a zone yet to be applied.

    Where both are null, nothing was read; `is_ambiguous` marks what has two meanings.
    """

    utc: pl.Series
    wall: pl.Series
    is_ambiguous: pl.Series


def no_times(length: int) -> pl.Series:
    """Return so many nulls (Int64)."""
    return pl.Series([None], dtype=pl.Int64).new_from_index(0, length)


def no_marks(length: int) -> pl.Series:
    """Return so many False."""
    return pl.Series([False]).new_from_index(0, length)


def first_of(first: pl.Series, other: pl.Series) -> pl.Series:
    """Return `first`, and where that is null `other`."""
    return first.zip_with(first.is_not_null(), other)


def wall_clock(timestamps: pl.Series, timezone: str) -> pl.Series:
    """Return what the clocks of a zone show at each instant, in microseconds (Int64)."""
    local = timestamps.cast(INSTANT).dt.convert_time_zone(timezone)
    return local.dt.replace_time_zone(None).to_physical()


def month_number(wall: pl.Series) -> pl.Series:
    """Count months (Int64) from year 0 to each wall time in microseconds."""
    shown = wall.cast(pl.Datetime("us"))
    return shown.dt.year().cast(pl.Int64) * 12 + shown.dt.month().cast(pl.Int64) - 1


def instant_of(wall: pl.Series, timezone: str) -> pl.Series:
    """Return the first instant at which the clocks of a zone show each wall time, or later.

    `wall` is in microseconds (Int64). A wall time that clocks skip gives the end of the skip.
    """
    return locate(wall, timezone)[0]


def locate(wall: pl.Series, timezone: str) -> tuple[pl.Series, pl.Series]:
    """Return `instant_of` each wall time, and the positions of those that clocks skip."""
    local = wall.cast(pl.Datetime("us"))
    zoned = local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    instants = zoned.dt.convert_time_zone("UTC").cast(INSTANT)
    skipped = (instants.is_null() & wall.is_not_null()).arg_true()
    if skipped.is_empty():
        return instants, skipped
    return instants.scatter(skipped, _ends_of_skips(wall.gather(skipped), timezone)), skipped


def _ends_of_skips(wall: pl.Series, timezone: str) -> pl.Series:
    """Bisect for the instant of the clock change, which the zone database gives to the second."""
    before, after = (
        wall_clock((wall + days * DAY_MICROSECONDS).cast(INSTANT), timezone)
        - (wall + days * DAY_MICROSECONDS)
        for days in (-2, 2)
    )
    low, high = (wall - after) // 1_000_000, (wall - before) // 1_000_000
    while (high - low).max() > 1:  # type: ignore[operator]
        middle = (low + high) // 2
        shown = wall_clock((middle * 1_000_000).cast(INSTANT), timezone)
        is_before = shown - middle * 1_000_000 < after
        low, high = middle.zip_with(is_before, low), high.zip_with(is_before, middle)
    return (high * 1_000_000).cast(INSTANT)
