"""What was said at a cutoff, and what it looked at: read back for people."""

from datetime import datetime

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, select

from forecaster.frames import ATTENTION, INSTANT, PATCHES
from forecaster.store import datasets
from forecaster.store.bulk import read_frame
from forecaster.store.tables import attention, attention_patches, forecasts, series

INTERVALS = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "step": pl.Int32(),
        "timestamp": INSTANT,
        **dict.fromkeys(("q10", "q50", "q90"), pl.Float64()),
    }
)
"""Medians and 80 % intervals, sorted by series_id, cutoff and step."""


def read_intervals(
    conn: Connection, dataset: str, *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return INTERVALS of the cutoffs between `since` and `until`, both included."""
    deviations = [
        (forecasts.c.level + forecasts.c[f"d{level}"]).label(f"q{level}") for level in (10, 50, 90)
    ]
    query = (
        select(
            series.c.key.label("series_id"),
            forecasts.c.cutoff,
            forecasts.c.step,
            forecasts.c.timestamp,
            *deviations,
        )
        .join(series, series.c.id == forecasts.c.series_id)
        .where(
            forecasts.c.series_id.in_(datasets.series_of(dataset)),
            forecasts.c.cutoff.between(since, until),
        )
    )
    return read_frame(conn, query, INTERVALS).sort("series_id", "cutoff", "step")


def read_attention(conn: Connection, dataset: str, cutoff: datetime) -> pl.DataFrame:
    """Return ATTENTION of one cutoff, sorted by series_id and step_from."""
    query = (
        select(
            series.c.key.label("series_id"),
            attention.c.cutoff,
            attention.c.step_from,
            attention.c.step_to,
            _as_json(conn).label("weights"),
        )
        .join(series, series.c.id == attention.c.series_id)
        .where(attention.c.series_id.in_(datasets.series_of(dataset)), attention.c.cutoff == cutoff)
    )
    found = read_frame(conn, query, {**ATTENTION, "weights": pl.String()})
    weights = pl.col("weights").str.json_decode(ATTENTION["weights"])
    return found.with_columns(weights).sort("series_id", "step_from")


def read_patches(conn: Connection, dataset: str, cutoff: datetime) -> pl.DataFrame:
    """Return PATCHES of one cutoff, from the oldest on."""
    query = select(*(attention_patches.c[name] for name in PATCHES)).where(
        attention_patches.c.dataset_id.in_(datasets.id_of(dataset)),
        attention_patches.c.cutoff == cutoff,
    )
    return read_frame(conn, query, PATCHES).sort("patch")


def _as_json(conn: Connection) -> sa.ColumnElement[str]:
    weights = attention.c.weights
    if conn.dialect.name == "postgresql":
        return sa.cast(sa.func.array_to_json(weights), sa.Text)
    return sa.type_coerce(weights, sa.Text)
