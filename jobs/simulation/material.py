"""What is replayed: a dataset of ours, or a file, with its past and the ticks in it."""

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from forecaster.config import DatasetConfig
from forecaster.errors import DataError
from forecaster.intake import Columns
from forecaster.store import observations, schema
from forecaster.store.engine import open_engine, reading
from jobs import demo, dues, ingest
from jobs.replay import last_ticks

USUAL_TICKS = 200
"""Replayed when nobody says how many, unless they were more than a quarter of the past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of the end is replayed: a length of time, a number of ticks, or what is usual."""

    replay: timedelta | None = None
    ticks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A dataset, what is known of it, and the ticks to live through."""

    dataset: DatasetConfig
    truth: pl.DataFrame
    """OBSERVATIONS as they are known now, of all the history of the first tick and up to the last
    tick."""
    ticks: list[datetime]


def of_dataset(engine: Engine, dataset: DatasetConfig, extent: Extent) -> Material:
    """Return the past of a dataset, from its own observations; nothing is written.

    DataError when there is none, or nothing would be left to train on.
    """
    with reading(engine) as conn:
        span = observations.span(conn, dataset.name)
    if span is None:
        raise DataError(
            f"dataset {dataset.name} must have observations, found none",
            hint="run `forecaster retrain` or `forecaster ingest` first, or pass a file",
        )
    replay = _length(dataset, span, extent)
    ticks = last_ticks(engine, dataset.name, schedule=dataset.forecast_schedule, replay=replay)
    since = ticks[0] - dataset.history
    with reading(engine) as conn:
        truth = observations.read(conn, dataset.name, since=since, until=ticks[-1])
    return Material(dataset=dataset, truth=truth, ticks=ticks)


def of_file(
    path: Path,
    extent: Extent,
    *,
    step: str | None,
    horizon: str | None,
    timezone: str | None,
    columns: Columns,
) -> Material:
    """Return the past in a file, as a dataset with the settings of a demo.

    ConfigError without its step and horizon, DataError when it cannot be read.
    """
    material = demo.of_file(path, step=step, horizon=horizon, timezone=timezone, columns=columns)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'file.db'}"
        dataset = demo.settings(material, url).datasets[material.name]
        engine = open_engine(url)
        try:
            schema.upgrade(engine)
            _ingest(engine, dataset, path, columns)
            return of_dataset(engine, dataset, extent)
        finally:
            engine.dispose()


def _ingest(engine: Engine, dataset: DatasetConfig, path: Path, columns: Columns) -> None:
    mapped = replace(
        dataset,
        series_columns=columns.series,
        timestamp_column=columns.timestamp,
        value_column=columns.value,
    )
    ingest.run(engine, mapped, path, now=datetime.now(UTC))


def _length(dataset: DatasetConfig, span: tuple[datetime, datetime], extent: Extent) -> timedelta:
    """Return how far before the newest tick the replay begins, that tick itself left out."""
    if extent.replay is not None:
        return extent.replay
    (first, last), schedule = span, dataset.forecast_schedule
    usual = min(USUAL_TICKS, max(2, (last - first) // schedule.shortest // 4))
    newest = schedule.floor(last)
    number = extent.ticks or usual
    return newest - dues.oldest(schedule, newest, number + 1, since=first)
