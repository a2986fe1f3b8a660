"""Rows of any driver as a frame: every column gets the one type that holds all its values."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from forecaster.frames import INSTANT

_WHOLE = 2**63


def _same(value: Any) -> Any:
    return value


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


_HOW: dict[str, tuple[Callable[[Any], Any], pl.DataType]] = {
    "whole": (int, pl.Int64()),
    "real": (float, pl.Float64()),
    "instant": (_in_utc, INSTANT),
    "naive": (_same, pl.Datetime("us")),
    "date": (_same, pl.Date()),
    "text": (str, pl.String()),
}


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
    kinds = {_kind(value) for value in values if value is not None}
    if kinds == {"whole", "real"}:
        kinds = {"real"}
    convert, dtype = _HOW[kinds.pop()] if len(kinds) == 1 else (str, pl.String())
    if all(value is None for value in values):
        return pl.Series(name, values, dtype=pl.Null())
    return pl.Series(
        name, [None if value is None else convert(value) for value in values], dtype=dtype
    )


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "whole"
        case int():
            return "whole" if -_WHOLE <= value < _WHOLE else "real"
        case float() | Decimal():
            return "real"
        case datetime(tzinfo=None):
            return "naive"
        case datetime():
            return "instant"
        case date():
            return "date"
        case _:
            return "text"
