"""Past forecasts with their attention, read back for display."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, select

from forecaster.schemas import ATTENTION, INSTANT, PART_COLUMNS, PATCHES, QUANTILE_COLUMNS
from forecaster.store.connection.bulk import read_frame
from forecaster.store.forecasts import slices
from forecaster.store.state import datasets
from forecaster.store.tables import (
    attention,
    attention_patches,
    forecast_steps,
    forecast_timestamps,
    forecasts,
    series,
)

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

PARTS = pl.Schema(
    {
        **{name: INTERVALS[name] for name in ("step", "timestamp")},
        "status": pl.String(),
        **dict.fromkeys(("level", *PART_COLUMNS, "q10", "q50", "q90"), pl.Float64()),
    }
)
"""One forecast and what its medians are made of, sorted by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredForecast:
    """Which forecast of a series is meant, when it was made, and whether in hindsight."""

    series_id: str
    cutoff: datetime
    model_id: int
    issued_at: datetime
    hindsight: bool


def newest(
    conn: Connection, dataset: str, series_id: str, *, until: datetime | None = None
) -> StoredForecast | None:
    """Return the forecast with the greatest cutoff, up to `until`; None where there is none.

    Of several at one cutoff: the newest that is not hindsight, if there is one.
    """
    query = (
        select(*(forecasts.c[name] for name in ("cutoff", "model_id", "issued_at", "hindsight")))
        .where(
            forecasts.c.series_id.in_(datasets.series_of(dataset, series_id)),
            *([] if until is None else [forecasts.c.cutoff <= until]),
        )
        .order_by(
            forecasts.c.cutoff.desc(),
            forecasts.c.hindsight,
            forecasts.c.issued_at.desc(),
            forecasts.c.model_id.desc(),
        )
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    cutoff, model_id, issued_at, hindsight = row
    return StoredForecast(
        series_id=series_id,
        cutoff=cutoff,
        model_id=model_id,
        issued_at=issued_at,
        hindsight=bool(hindsight),
    )


def read_parts(conn: Connection, dataset: str, forecast: StoredForecast) -> pl.DataFrame:
    """Return PARTS of one forecast."""
    query = select(*map(_column, PARTS)).where(
        forecast_steps.c.series_id.in_(datasets.series_of(dataset, forecast.series_id)),
        forecast_steps.c.cutoff == forecast.cutoff,
        forecast_steps.c.model_id == forecast.model_id,
    )
    return read_frame(conn, query, PARTS).sort("step")


def read_intervals(
    conn: Connection, dataset: str, *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return INTERVALS of the cutoffs between `since` and `until`, both included."""
    query = (
        select(*map(_column, INTERVALS))
        .join(series, series.c.id == forecast_steps.c.series_id)
        .where(*_between(forecast_steps, dataset, since, until))
    )
    return read_frame(conn, query, INTERVALS).sort("series_id", "cutoff", "step")


def read_quantiles(
    conn: Connection, dataset: str, *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return QUANTILES of the cutoffs between `since` and `until`, both included."""
    is_between = _between(forecasts, dataset, since, until)
    most = conn.scalar(select(sa.func.max(forecasts.c.steps)).where(*is_between)) or 0
    steps = range(1, most + 1)
    timestamps = select(*(forecast_timestamps.c[name] for name in slices.TIMESTAMPS)).where(
        forecast_timestamps.c.model_id.in_(datasets.models_of(dataset)),
        forecast_timestamps.c.cutoff.between(since, until),
    )
    rows = select(*slices.columns(conn, steps)).where(*is_between)
    return slices.quantiles(conn, dataset, of=rows, at=timestamps, steps=steps)


def read_attention(
    conn: Connection, dataset: str, cutoff: datetime, *, of: StoredForecast | None = None
) -> pl.DataFrame:
    """Return ATTENTION of one cutoff, sorted by series_id and step_from; with `of`: of that one."""
    key = None if of is None else of.series_id
    query = (
        select(
            series.c.key.label("series_id"),
            attention.c.cutoff,
            attention.c.step_from,
            attention.c.step_to,
            _as_json(conn).label("weights"),
        )
        .join(series, series.c.id == attention.c.series_id)
        .where(
            attention.c.series_id.in_(datasets.series_of(dataset, key)),
            attention.c.cutoff == cutoff,
            *([] if of is None else [attention.c.model_id == of.model_id]),
        )
    )
    frame = read_frame(conn, query, {**ATTENTION, "weights": pl.String()})
    weights = pl.col("weights").str.json_decode(ATTENTION["weights"])
    return frame.with_columns(weights).sort("series_id", "step_from")


def read_patches(
    conn: Connection, dataset: str, cutoff: datetime, *, of: StoredForecast | None = None
) -> pl.DataFrame:
    """Return PATCHES of one cutoff, from the oldest on; with `of`: those of its model."""
    query = select(*(attention_patches.c[name] for name in PATCHES)).where(
        attention_patches.c.dataset_id.in_(datasets.id_of(dataset)),
        attention_patches.c.cutoff == cutoff,
        *([] if of is None else [attention_patches.c.model_id == of.model_id]),
    )
    return read_frame(conn, query, PATCHES).sort("patch")


def _between(
    table: sa.Table, dataset: str, since: datetime, until: datetime
) -> tuple[sa.ColumnElement[bool], ...]:
    is_ours = table.c.series_id.in_(datasets.series_of(dataset))
    return is_ours, table.c.cutoff.between(since, until)


def _column(name: str) -> sa.ColumnElement[Any]:
    """Return a column of a schema: a quantile is the level and a deviation from it."""
    if name in QUANTILE_COLUMNS:
        return (forecast_steps.c.level + forecast_steps.c[f"d{name[1:]}"]).label(name)
    return series.c.key.label(name) if name == "series_id" else forecast_steps.c[name]


def _as_json(conn: Connection) -> sa.ColumnElement[str]:
    weights = attention.c.weights
    if conn.dialect.name == "postgresql":
        return sa.cast(sa.func.array_to_json(weights), sa.Text)
    return sa.type_coerce(weights, sa.Text)
