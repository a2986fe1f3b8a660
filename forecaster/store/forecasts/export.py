"""Forecasts as stored, counted by cutoff."""

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

WRITTEN = pl.Schema({"cutoff": INSTANT, "forecasts": pl.Int64(), "repeated": pl.Int64()})
"""Forecasts of a cutoff; how many are a second one, or a third, of the same series."""


def by_cutoff(conn: Connection, dataset: str) -> pl.DataFrame:
    """Return WRITTEN of a dataset, sorted by cutoff."""
    count = func.count()
    query = (
        select(
            forecasts.c.cutoff,
            count.label("forecasts"),
            (count - func.count(forecasts.c.series_id.distinct())).label("repeated"),
        )
        .where(forecasts.c.series_id.in_(datasets.series_of(dataset)))
        .group_by(forecasts.c.cutoff)
    )
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
