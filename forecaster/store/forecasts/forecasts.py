"""Forecasts, one row for each series, cutoff and model, and the timestamps of their steps."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import polars as pl
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, select, true

from forecaster.schemas import FORECAST_ARRAYS, INSTANT, STEPS, conform
from forecaster.store import tables
from forecaster.store.connection.bulk import insert_frame, insert_frames, read_frame
from forecaster.store.state import datasets
from forecaster.store.tables import forecast_timestamps, forecasts

Origin = Literal["live", "backfill"]

KEYS = pl.Schema({"series_id": pl.Int32(), "cutoff": INSTANT})
"""Which series were forecast at which cutoffs."""


def write_blocks(
    conn: Connection,
    ids: Mapping[str, int],
    model_id: int,
    frames: Iterable[pl.DataFrame],
    *,
    issued_at: datetime,
    origin: Origin,
) -> int:
    """Append FORECAST_ARRAYS, frame after frame as they come; `ids` are the integers of their keys.

    Return how many rows. `write_steps` has to be called for their cutoffs too.
    """
    rows = (
        datasets.numbered(conform(frame, FORECAST_ARRAYS), ids).with_columns(
            model_id=pl.lit(model_id, dtype=pl.Int32()),
            steps=pl.col("deviations").list.len().cast(pl.Int32()),
            issued_at=pl.lit(issued_at, dtype=INSTANT),
            origin=pl.lit(origin),
        )
        for frame in frames
    )
    return insert_frames(conn, forecasts, rows)


def write_steps(conn: Connection, model_id: int, steps: pl.DataFrame) -> int:
    """Append STEPS that this model does not have yet; return how many rows."""
    conform(steps, STEPS)
    query = select(*(forecast_timestamps.c[name] for name in STEPS)).where(
        forecast_timestamps.c.model_id == model_id,
        forecast_timestamps.c.cutoff.between(steps["cutoff"].min(), steps["cutoff"].max()),
    )
    new = steps.join(read_frame(conn, query, STEPS), on=["cutoff", "timestamp"], how="anti")
    model = pl.lit(model_id, dtype=pl.Int32())
    return insert_frame(conn, forecast_timestamps, new.with_columns(model_id=model))


def delete_steps_before(conn: Connection, dataset: str, before: datetime) -> int:
    """Delete the STEPS of cutoffs earlier than `before`; return how many rows."""
    is_ours = forecast_timestamps.c.model_id.in_(datasets.models_of(dataset))
    return conn.execute(
        delete(forecast_timestamps).where(is_ours, forecast_timestamps.c.cutoff < before)
    ).rowcount


def series_at(conn: Connection, dataset: str, model_id: int, cutoff: datetime) -> list[str]:
    """Return the series that one model has forecast at one cutoff, sorted."""
    series = by_series(conn, dataset, forecasts, model_id, forecasts.c.cutoff == cutoff)
    if series.is_empty():
        return []
    keys = datasets.keys(conn, dataset)
    return keys.filter(pl.col("id").is_in(series["series_id"].implode()))["key"].to_list()


def by_series(
    conn: Connection, dataset: str, table: Table, model_id: int, limits: ColumnElement[bool]
) -> pl.DataFrame:
    """Return KEYS: where a table has rows of a model inside `limits`, each once.

    Descends the key once for each of its series: OFFSET 0 keeps PostgreSQL from doing so for those
    of all datasets, or from reading whole partitions.
    """
    ours = datasets.series_of(dataset).offset(0).subquery()
    is_theirs = and_(table.c.series_id == ours.c.id, table.c.model_id == model_id, limits)
    if conn.dialect.name == "postgresql":
        of_one = select(table.c.cutoff).distinct().where(is_theirs).offset(0).lateral()
        joined, cutoff = ours.join(of_one, true()), of_one.c.cutoff
    else:
        joined, cutoff = ours.join(table, is_theirs), table.c.cutoff
    columns: list[ColumnElement[Any]] = [ours.c.id.label("series_id"), cutoff]
    return read_frame(conn, select(*columns).select_from(joined).distinct(), KEYS)


def awaits_scoring(conn: Connection, dataset: str, *, after: datetime | None) -> bool:
    """Return whether something but hindsight was forecast at a cutoff after `after`, None is any.

    Descends the key of one series after the other: OFFSET 0 keeps PostgreSQL from reading whole
    partitions of everybody instead.
    """
    forecast = select(forecasts.c.cutoff).where(
        forecasts.c.series_id == tables.series.c.id, ~forecasts.c.hindsight
    )
    later = forecast if after is None else forecast.where(forecasts.c.cutoff > after)
    query = select(tables.series.c.id).where(
        tables.series.c.id.in_(datasets.series_of(dataset)), later.offset(0).exists()
    )
    return conn.scalar(query.limit(1)) is not None


def count(conn: Connection, dataset: str, *, at_most: int) -> int:
    """Count the forecasts of a dataset, of all models: one more than `at_most` is many.

    Descends the key of one series after the other, and stops there.
    """
    series = tables.series
    of_series = select(forecasts.c.cutoff).where(forecasts.c.series_id == series.c.id)
    if conn.dialect.name == "postgresql":
        # OFFSET 0 keeps PostgreSQL from reading whole partitions of everybody instead.
        rows = of_series.offset(0).lateral()
        joined = series.join(rows, true())
    else:
        joined = series.join(forecasts, forecasts.c.series_id == series.c.id)
    rows_found = select(series.c.id).select_from(joined)
    rows_found = rows_found.where(series.c.id.in_(datasets.series_of(dataset))).limit(at_most + 1)
    return conn.scalar(select(func.count()).select_from(rows_found.subquery())) or 0
