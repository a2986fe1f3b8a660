"""Some steps of many forecasts out of their arrays, a row for each.

A view would take numbers out of the arrays one by one; here a slice comes whole.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select

from forecaster.schemas import DEVIATION_COLUMNS, INSTANT, QUANTILE_COLUMNS, quantiles_of_level
from forecaster.store.connection import bulk
from forecaster.store.connection.pg_copy import EPOCH
from forecaster.store.state import datasets
from forecaster.store.tables import forecasts

QUANTILES = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "model_id": pl.Int32(),
        "step": pl.Int32(),
        "timestamp": INSTANT,
        **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64()),
    }
)
"""Quantiles of forecasts, sorted by series_id, cutoff, model_id and step."""

TIMESTAMPS = pl.Schema(
    {name: QUANTILES[name] for name in ("cutoff", "model_id", "step", "timestamp")}
)
"""When the open steps of the cutoffs of a model are."""

KEYS = pl.Schema(
    {"id": pl.Int32(), "cutoff": INSTANT, "model_id": pl.Int32(), "level": pl.Float64()}
)
"""Which forecast of which series."""

_WIDTH = len(DEVIATION_COLUMNS)
_HEADER_BYTES = 28
"""Dimensions, whether there are nulls, the type, then size and first index of two dimensions."""


def columns(conn: Connection, steps: range) -> list[ColumnElement[Any]]:
    """Return what a query has to select of the forecasts: KEYS and their numbers."""
    names = ["series_id" if name == "id" else name for name in KEYS]
    keys = [forecasts.c[name].label(key) for name, key in zip(names, KEYS, strict=True)]
    array: ColumnElement[Any] = forecasts.c.deviations
    if conn.dialect.name == "postgresql":
        slice_ = forecasts.c.deviations[steps.start : steps.stop - 1]
        array = sa.func.array_send(slice_, type_=sa.LargeBinary)
    return [*keys, array.label("deviations")]


def quantiles(
    conn: Connection, dataset: str, *, of: Select[Any], at: Select[Any], steps: range
) -> pl.DataFrame:
    """Return QUANTILES of forecasts of a dataset, at those of `steps` that are open.

    `of` selects `columns` of the forecasts, `at` the columns TIMESTAMPS of the open steps.
    """
    return (
        _read(conn, of, steps)
        .join(bulk.read_frame(conn, at, TIMESTAMPS), on=["cutoff", "model_id", "step"])
        .join(datasets.keys(conn, dataset), on="id")
        .sort("rank", "cutoff", "model_id", "step")
        .with_columns(*quantiles_of_level(), series_id=pl.col("key"))
        .select(QUANTILES.names())
    )


def _read(conn: Connection, query: Select[Any], steps: range) -> pl.DataFrame:
    """Return KEYS with `step` and DEVIATION_COLUMNS (float32), a row for each of `steps`.

    Without the steps that a forecast does not have.
    """
    if conn.dialect.name == "postgresql":
        keys, counts, numbers = _read_postgres(conn, query)
    else:
        keys, counts, numbers = _read_sqlite(conn, query, steps)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    frame = keys[np.repeat(np.arange(len(counts)), counts)].with_columns(
        pl.Series("step", places + steps.start, dtype=pl.Int32),
        *map(pl.Series, DEVIATION_COLUMNS, np.ascontiguousarray(numbers.T)),
    )
    return frame.filter(pl.col(DEVIATION_COLUMNS[0]).is_finite())


_Slices = tuple[pl.DataFrame, np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""KEYS (N,), how many steps each has (N,), and the deviations of all of them (R, Q)."""


def _read_postgres(conn: Connection, query: Select[Any]) -> _Slices:
    rows = [*bulk.binary_rows(conn, query, ["int4", "bytea", "int4", "float8", "bytea"])]
    ids, cutoffs, model_ids, levels, arrays = zip(*rows, strict=True) if rows else [()] * 5
    instants = np.frombuffer(b"".join(cutoffs), ">i8") + EPOCH
    keys = [ids, pl.Series(instants.astype(np.int64)).cast(INSTANT), model_ids, levels]
    content = b"".join([array[_HEADER_BYTES:] for array in arrays])
    numbers = np.frombuffer(content, [("size", ">i4"), ("number", ">f4")])["number"]
    return (
        pl.DataFrame(dict(zip(KEYS, keys, strict=True)), schema=KEYS),
        _counts([max(0, len(array) - _HEADER_BYTES) // (8 * _WIDTH) for array in arrays]),
        numbers.astype(np.float32).reshape(-1, _WIDTH),
    )


def _read_sqlite(conn: Connection, query: Select[Any], steps: range) -> _Slices:
    frame = bulk.read_frame(conn, query, {**KEYS, "deviations": pl.String()})
    arrays = frame["deviations"].str.json_decode(pl.List(pl.List(pl.Float32())))
    slices = arrays.list.slice(steps.start - 1, len(steps))
    numbers = slices.explode().explode().fill_null(np.nan).to_numpy().reshape(-1, _WIDTH)
    return frame.select(KEYS.names()), _counts(slices.list.len()), numbers


def _counts(lengths: Sequence[int] | pl.Series) -> np.ndarray[Any, Any]:
    return np.array(lengths, np.int64)
