"""Forecasts and attention written in one call, and accuracy read back."""

from datetime import datetime

import polars as pl
from sqlalchemy import Connection, select

from forecaster.schemas import ACCURACY, FORECASTS, INSTANT, conform
from forecaster.store import tables
from forecaster.store.connection.bulk import read_frame
from forecaster.store.forecasts import attention, forecasts
from forecaster.store.state import datasets
from tests.store.arrays import arrays_of, steps_of

SCORED = pl.Schema({**ACCURACY, "model_id": pl.Int32(), "scored_at": INSTANT})
"""ACCURACY, and which model it is of, and when it was scored."""


def write_forecasts(
    conn: Connection,
    dataset: str,
    model_id: int,
    frame: pl.DataFrame,
    *,
    issued_at: datetime,
    origin: forecasts.Origin,
) -> int:
    """Append FORECASTS of one model; return how many rows.

    StoreError when one of them exists: forecasts are never overwritten.
    """
    ids = datasets.series_ids(conn, dataset, frame["series_id"].unique())
    forecasts.write_steps(conn, model_id, steps_of(frame))
    rows = arrays_of(conform(frame, FORECASTS))
    return forecasts.write_blocks(conn, ids, model_id, [rows], issued_at=issued_at, origin=origin)


def write_attention(
    conn: Connection,
    dataset: str,
    model_id: int,
    weights: pl.DataFrame,
    patches: pl.DataFrame,
) -> int:
    """Append ATTENTION and the PATCHES of its cutoffs; return how many rows of ATTENTION."""
    ids = datasets.series_ids(conn, dataset, weights["series_id"].unique())
    attention.write_patches(conn, dataset, model_id, patches)
    return attention.write_blocks(conn, ids, model_id, [weights])


def read_accuracy(
    conn: Connection,
    dataset: str,
    *,
    since: datetime | None = None,
    model_id: int | None = None,
) -> pl.DataFrame:
    """Return SCORED of the cutoffs from `since` on, sorted by series_id, cutoff and model_id."""
    columns = [tables.accuracy.c[name] for name in SCORED if name != "series_id"]
    query = (
        select(tables.series.c.key.label("series_id"), *columns)
        .join(tables.series, tables.series.c.id == tables.accuracy.c.series_id)
        .where(tables.accuracy.c.series_id.in_(datasets.series_of(dataset)))
    )
    if since is not None:
        query = query.where(tables.accuracy.c.cutoff >= since)
    if model_id is not None:
        query = query.where(tables.accuracy.c.model_id == model_id)
    return read_frame(conn, query, SCORED).sort("series_id", "cutoff", "model_id", "lead")
