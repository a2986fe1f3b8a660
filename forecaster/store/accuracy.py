"""How right we were, per series, cutoff, model and lead."""

from datetime import datetime

import polars as pl
from sqlalchemy import Connection, select

from forecaster.frames import ACCURACY, INSTANT, conform
from forecaster.store import datasets
from forecaster.store.bulk import insert_frame, read_frame
from forecaster.store.tables import accuracy, series

SCORED = pl.Schema({**ACCURACY, "model_id": pl.Int32(), "scored_at": INSTANT})
"""ACCURACY, and which model it is of, and when it was scored."""


def write(
    conn: Connection, dataset: str, model_id: int, frame: pl.DataFrame, *, scored_at: datetime
) -> int:
    """Append the ACCURACY of one model; return how many rows. StoreError if one exists."""
    rows = datasets.with_ids(conn, dataset, conform(frame, ACCURACY)).with_columns(
        model_id=pl.lit(model_id, dtype=pl.Int32()),
        scored_at=pl.lit(scored_at, dtype=INSTANT),
    )
    return insert_frame(conn, accuracy, rows)


def read(
    conn: Connection,
    dataset: str,
    *,
    since: datetime | None = None,
    model_id: int | None = None,
) -> pl.DataFrame:
    """Return SCORED of the cutoffs from `since` on, sorted by series_id, cutoff and model_id."""
    columns = [accuracy.c[name] for name in SCORED if name != "series_id"]
    query = (
        select(series.c.key.label("series_id"), *columns)
        .join(series, series.c.id == accuracy.c.series_id)
        .where(accuracy.c.series_id.in_(datasets.series_of(dataset)))
    )
    if since is not None:
        query = query.where(accuracy.c.cutoff >= since)
    if model_id is not None:
        query = query.where(accuracy.c.model_id == model_id)
    return read_frame(conn, query, SCORED).sort("series_id", "cutoff", "model_id", "lead")
