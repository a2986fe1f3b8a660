"""Forecast rows as stored, counted by cutoff."""

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, func, select

from forecaster.errors import StoreError
from forecaster.schemas import INSTANT
from forecaster.store.connection.bulk import read_frame
from forecaster.store.connection.engine import reading
from forecaster.store.connection.urls import masked
from forecaster.store.state import datasets
from forecaster.store.tables import forecasts

WRITTEN = pl.Schema({"cutoff": INSTANT, "rows": pl.Int64(), "repeated": pl.Int64()})
"""Forecast rows of a cutoff; how many duplicate another of the same series and step."""


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


def require_empty(engine: Engine) -> None:
    """Raise StoreError unless a database has no tables."""
    with reading(engine) as conn:
        tables = sa.inspect(conn).get_table_names()
    if tables:
        raise StoreError(
            f"database {masked(engine.url)} is not empty, found {len(tables)} tables",
            hint="choose another database; nothing was changed",
        )
