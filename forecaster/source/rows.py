"""Rows of any driver as a frame: every column gets the one type that holds all its values."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from forecaster.ingestion.series_keys import key_text, texts_of

_Values = Sequence[Any]

_ROWS_IN_FRAME = 50_000


def gather(
    names: Sequence[str], parts: Iterable[Sequence[Sequence[Any]]], *, keys: int = 0
) -> pl.DataFrame:
    """Return the rows of all parts, one column per name; small parts are faster than large ones.

    The first `keys` columns become the text of series' keys. In the others numbers become Int64 or
    Float64, instants with any zone UTC, naive ones stay naive, dates are dates; what fits nothing
    else, or is of several kinds, becomes text.
    """
    frames = [_to_frame(names, [[] for _ in names], keys)]
    columns: list[list[Any]] = [[] for _ in names]
    for part in parts:
        for column, values in zip(columns, zip(*part, strict=True), strict=True):
            column.extend(values)
        if len(columns[0]) >= _ROWS_IN_FRAME:
            frames.append(_to_frame(names, columns, keys))
            columns = [[] for _ in names]
    return pl.concat([*frames, _to_frame(names, columns, keys)], how="vertical_relaxed")


def _to_frame(names: Sequence[str], columns: Sequence[_Values], keys: int) -> pl.DataFrame:
    pairs = enumerate(zip(names, columns, strict=True))
    return pl.DataFrame(
        [(_key if place < keys else _column)(name, values) for place, (name, values) in pairs]
    )


def _key(name: str, values: _Values) -> pl.Series:
    types = set(map(type, values)) - {type(None)}
    if types in ({str}, {float}, {datetime}):
        return key_text(_column(name, values))
    return texts_of(name, values)


def _column(name: str, values: _Values) -> pl.Series:
    types = set(map(type, values)) - {type(None)}
    if types == {int}:
        return _whole(name, values)
    if types in ({str}, {float}):
        return pl.Series(name, values, dtype=pl.String() if types == {str} else pl.Float64())
    kinds = {_kind(kind) for kind in types}
    match sorted(kinds):
        case []:
            return pl.Series(name, values, dtype=pl.Null())
        case ["whole"]:
            return _whole(name, _mapped(int, values))
        case ["real"] | ["real", "whole"]:
            return pl.Series(name, _mapped(float, values), dtype=pl.Float64())
        case ["date"]:
            return pl.Series(name, values, dtype=pl.Date())
        case ["datetime"]:
            return _datetimes(name, values)
        case _:
            return pl.Series(name, _mapped(str, values), dtype=pl.String())


def _whole(name: str, values: _Values) -> pl.Series:
    try:
        return pl.Series(name, values, dtype=pl.Int64())
    except (OverflowError, TypeError):  # beyond 64 bits
        return pl.Series(name, _mapped(float, values), dtype=pl.Float64())


def _kind(kind: type) -> str:
    # A bool is an int, and a datetime is a date: the order matters.
    known = (("whole", int), ("real", (float, Decimal)), ("datetime", datetime), ("date", date))
    return next((name for name, types in known if issubclass(kind, types)), "text")


def _datetimes(name: str, values: Sequence[Any]) -> pl.Series:
    naive = {value.tzinfo is None for value in values if value is not None}
    if len(naive) == 2:
        return pl.Series(name, _mapped(str, values), dtype=pl.String())
    if naive == {True}:
        return pl.Series(name, values, dtype=pl.Datetime("us"))
    walls = _mapped(lambda value: value.astimezone(UTC).replace(tzinfo=None), values)
    return pl.Series(name, walls, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")


def _mapped(convert: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]
