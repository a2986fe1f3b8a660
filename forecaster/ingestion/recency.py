"""Which rejected rows are nothing new: every pull reads them again, as far as their stamps show."""

from datetime import date, datetime

import polars as pl

_FIRST_YEAR, _LAST_YEAR = 1900, 2200
_NUMBERS = (
    r"^\s*(?<one>[0-9]{1,2})[./-](?<two>[0-9]{1,2})[./-](?<year>[0-9]{4}|[0-9]{2})(?:[^0-9]|$)"
)
_LAST_MONTH = 12


def is_undated(stamps: pl.Series, instants: pl.Series, since: datetime | None) -> pl.Series:
    """Return which rows of a pull are not counted as new.

    Their timestamp is missing, before `since` or out of range, or it is text that begins with no
    year. Of the latter, dates such as 29.11.2026 are new where one that fits all of the column is
    not before `since`.
    """
    undated = _has_no_year(stamps)
    if since is None:
        return undated
    if stamps.dtype == pl.String:
        undated = undated & ~_may_be_since(stamps, since.date())
    return undated | (instants < since).fill_null(value=False)


def _may_be_since(stamps: pl.Series, first: date) -> pl.Series:
    numbers = stamps.str.extract_groups(_NUMBERS).struct.unnest().cast(pl.Int32)
    one, two, year = pl.col("one"), pl.col("two"), pl.col("year")
    year = pl.when(year < 100).then(year + 2000).otherwise(year)
    orders = [(two, one), (one, two)]  # month and day
    possible = [
        _date(year, month, day) >= first
        for month, day in orders
        if not numbers.select((month > _LAST_MONTH).any()).item()
    ]
    is_since = pl.any_horizontal(pl.lit(False), *possible).fill_null(value=False)
    return numbers.select(is_since.alias("since")).to_series()


def _date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    written = pl.format("{}-{}-{}", year, month, day)
    return written.str.to_date("%Y-%m-%d", strict=False)


def _has_no_year(stamps: pl.Series) -> pl.Series:
    """Return where the timestamp is missing, or one that every pull reads (`predicates`)."""
    if stamps.dtype.is_temporal() and stamps.dtype != pl.Duration and stamps.dtype != pl.Time:
        is_inside = stamps.dt.year().is_between(_FIRST_YEAR, _LAST_YEAR, closed="left")
    elif stamps.dtype == pl.String:
        is_inside = stamps.str.contains("^(?:19|20|21)[0-9]{2}")
    else:
        is_inside = stamps.is_not_null()
    return ~is_inside.fill_null(False)
