"""Rows of any driver as a frame: every column gets the one type that holds all its values."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

_LARGEST = 2**63 - 1


def to_frame(names: Sequence[str], found: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Return one column per name.

    Numbers become Int64 or Float64, instants with any zone UTC, naive ones stay naive, dates are
    dates; what fits nothing else, or is of several kinds, becomes text.
    """
    columns = zip(*found, strict=True) if found else ([] for _ in names)
    return pl.DataFrame(
        [_column(name, values) for name, values in zip(names, columns, strict=True)]
    )


def concat(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all parts; a column of several types becomes one that holds them."""
    return pl.concat(parts, how="vertical_relaxed")


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    kinds = {_kind(kind) for kind in set(map(type, values)) - {type(None)}}
    match sorted(kinds):
        case []:
            return pl.Series(name, values, dtype=pl.Null())
        case ["whole"] if all(value is None or abs(value) <= _LARGEST for value in values):
            return pl.Series(name, _each(int, values), dtype=pl.Int64())
        case ["whole"] | ["real"] | ["real", "whole"]:
            return pl.Series(name, _each(float, values), dtype=pl.Float64())
        case ["date"]:
            return pl.Series(name, values, dtype=pl.Date())
        case ["datetime"]:
            return _datetimes(name, values)
        case _:
            return pl.Series(name, _each(str, values), dtype=pl.String())


def _kind(kind: type) -> str:
    # A bool is an int, and a datetime is a date: the order matters.
    known = (("whole", int), ("real", (float, Decimal)), ("datetime", datetime), ("date", date))
    return next((name for name, types in known if issubclass(kind, types)), "text")


def _datetimes(name: str, values: Sequence[Any]) -> pl.Series:
    naive = {value.tzinfo is None for value in values if value is not None}
    if len(naive) == 2:
        return pl.Series(name, _each(str, values), dtype=pl.String())
    if naive == {True}:
        return pl.Series(name, values, dtype=pl.Datetime("us"))
    wall = pl.Series(name, _each(_utc_wall_clock, values), dtype=pl.Datetime("us"))
    return wall.dt.replace_time_zone("UTC")


def _utc_wall_clock(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


def _each(convert: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]
