"""What we said: forecast rows, and those of them that can be judged by now."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import polars as pl
from sqlalchemy import ColumnElement, Connection, and_, select

from forecaster.frames import (
    DEVIATION_COLUMNS,
    FORECASTS,
    INSTANT,
    QUANTILE_COLUMNS,
    conform,
)
from forecaster.store import datasets, tables
from forecaster.store.bulk import insert_frames, read_frame
from forecaster.store.tables import forecasts

Origin = Literal["live", "backfill"]

MATURED = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "model_id": pl.Int32(),
        "step": pl.Int32(),
        "timestamp": INSTANT,
        "status": pl.String(),
        **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64()),
    }
)
"""Forecasts to judge, sorted by series_id, cutoff, model_id and step."""

_STORED = {
    **{name: MATURED[name] for name in ("cutoff", "model_id", "step", "timestamp", "status")},
    "id": pl.Int32(),
    "level": pl.Float64(),
    **dict.fromkeys(DEVIATION_COLUMNS, pl.Float64()),
}


def write(
    conn: Connection,
    dataset: str,
    model_id: int,
    frame: pl.DataFrame,
    *,
    issued_at: datetime,
    origin: Origin,
) -> int:
    """Append FORECASTS of one model; return how many rows.

    StoreError when one of them exists: what was said is never overwritten.
    """
    ids = datasets.series_ids(conn, dataset, frame["series_id"].unique())
    return write_blocks(conn, ids, model_id, [frame], issued_at=issued_at, origin=origin)


def write_blocks(
    conn: Connection,
    ids: Mapping[str, int],
    model_id: int,
    frames: Iterable[pl.DataFrame],
    *,
    issued_at: datetime,
    origin: Origin,
) -> int:
    """Append FORECASTS, frame after frame as they come; `ids` are the integers of their keys."""
    rows = (
        datasets.numbered(conform(frame, FORECASTS), ids).with_columns(
            model_id=pl.lit(model_id, dtype=pl.Int32()),
            issued_at=pl.lit(issued_at, dtype=INSTANT),
            origin=pl.lit(origin),
        )
        for frame in frames
    )
    return insert_frames(conn, forecasts, rows)


def series_at(conn: Connection, dataset: str, model_id: int, cutoff: datetime) -> list[str]:
    """Return the series that one model has forecast at one cutoff, sorted."""
    query = (
        select(tables.series.c.key)
        .join(forecasts, forecasts.c.series_id == tables.series.c.id)
        .where(
            tables.series.c.id.in_(datasets.series_of(dataset)),
            forecasts.c.model_id == model_id,
            forecasts.c.cutoff == cutoff,
            forecasts.c.step == 1,
        )
    )
    return sorted(conn.scalars(query))


def read_matured(
    conn: Connection,
    dataset: str,
    lead: str,
    *,
    steps: tuple[int, int],
    after: datetime | None,
    until: datetime,
) -> pl.DataFrame:
    """Return MATURED of one lead: forecasts whose last step of it lies in (after, until].

    `steps` are the first and the last step of the lead. Left out: hindsight, and forecasts of
    which this lead was scored before.
    """
    last = forecasts.alias("last")
    same = [last.c[name] == forecasts.c[name] for name in ("series_id", "cutoff", "model_id")]
    query = (
        select(
            *(forecasts.c[name] for name in _STORED if name != "id"),
            forecasts.c.series_id.label("id"),
        )
        .join(last, and_(*same, last.c.step == steps[1]))
        .where(
            forecasts.c.series_id.in_(datasets.series_of(dataset)),
            forecasts.c.step.between(*steps),
            forecasts.c.status != "hindsight",
            last.c.timestamp <= until,
            *([] if after is None else [last.c.timestamp > after]),
            ~_is_scored(lead),
        )
    )
    found = read_frame(conn, query, _STORED)
    return _matured(found, datasets.keys(conn, dataset))


def _is_scored(lead: str) -> ColumnElement[bool]:
    scored = tables.accuracy
    same: list[ColumnElement[Any]] = [
        scored.c[name] == forecasts.c[name] for name in ("series_id", "cutoff", "model_id")
    ]
    return select(scored.c.lead).where(*same, scored.c.lead == lead).exists()


def _matured(found: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    quantiles = [
        (pl.col("level") + pl.col(deviation)).alias(quantile)
        for quantile, deviation in zip(QUANTILE_COLUMNS, DEVIATION_COLUMNS, strict=True)
    ]
    return (
        found.join(keys, on="id")
        .sort("rank", "cutoff", "model_id", "step")
        .with_columns(*quantiles, series_id=pl.col("key"))
        .select(MATURED.names())
    )
