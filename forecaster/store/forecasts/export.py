"""Forecast rows as stored, counted and read back."""

from datetime import datetime

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, func, select

from forecaster.errors import StoreError
from forecaster.schemas import DEVIATION_COLUMNS, INSTANT, QUANTILE_COLUMNS
from forecaster.store.connection.bulk import read_frame
from forecaster.store.connection.engine import reading
from forecaster.store.connection.urls import masked
from forecaster.store.state import datasets
from forecaster.store.tables import forecasts, series

WRITTEN = pl.Schema({"cutoff": INSTANT, "rows": pl.Int64(), "repeated": pl.Int64()})
"""Forecast rows of a cutoff; how many duplicate another of the same series and step."""

QUANTILES = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "step": pl.Int32(),
        **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64()),
    }
)
"""Forecast quantiles, sorted by series_id, cutoff and step."""


def by_cutoff(conn: Connection, dataset: str) -> pl.DataFrame:
    """Return WRITTEN of a dataset, sorted by cutoff."""
    count = func.count().label("rows_of_key")
    keys = (forecasts.c.series_id, forecasts.c.cutoff, forecasts.c.step)
    keys_counted = (
        select(forecasts.c.cutoff, count)
        .where(forecasts.c.series_id.in_(datasets.series_of(dataset)))
        .group_by(*keys)
        .subquery()
    )
    query = select(
        keys_counted.c.cutoff,
        sa.cast(func.sum(keys_counted.c.rows_of_key), sa.BigInteger).label("rows"),
        sa.cast(func.sum(keys_counted.c.rows_of_key - 1), sa.BigInteger).label("repeated"),
    ).group_by(keys_counted.c.cutoff)
    return read_frame(conn, query, WRITTEN).sort("cutoff")


def read(conn: Connection, dataset: str, *, since: datetime, until: datetime) -> pl.DataFrame:
    """Return QUANTILES of the cutoffs between `since` and `until`, both included."""
    quantiles = [
        (forecasts.c.level + forecasts.c[deviation]).label(quantile)
        for quantile, deviation in zip(QUANTILE_COLUMNS, DEVIATION_COLUMNS, strict=True)
    ]
    query = (
        select(series.c.key.label("series_id"), forecasts.c.cutoff, forecasts.c.step, *quantiles)
        .join(series, series.c.id == forecasts.c.series_id)
        .where(
            forecasts.c.series_id.in_(datasets.series_of(dataset)),
            forecasts.c.cutoff.between(since, until),
        )
    )
    return read_frame(conn, query, QUANTILES).sort("series_id", "cutoff", "step")


def require_empty(engine: Engine) -> None:
    """Raise StoreError unless a database has no tables."""
    with reading(engine) as conn:
        tables = sa.inspect(conn).get_table_names()
    if tables:
        raise StoreError(
            f"database {masked(engine.url)} is not empty, found {len(tables)} tables",
            hint="choose another database; nothing was changed",
        )
