"""What is replayed: a dataset or a file, with its past and the ticks in it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import ConfigError, DataError
from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from forecaster.times.durations import Step
from jobs.backtest.inputs import Rows
from jobs.demo import demo
from jobs.demo.replay import ticks_within
from jobs.scheduling import misfire_policy
from jobs.terminal.file_options import FileOptions

USUAL_TICKS = 200
"""Replayed by default, unless they were more than a quarter of the past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of the end is replayed: a length of time, a number of ticks, or the usual one."""

    replay: timedelta | None = None
    ticks: int | None = None

    def __post_init__(self) -> None:
        if self.ticks is not None and self.replay is not None:
            raise ConfigError(["--ticks and --replay are mutually exclusive"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationInput:
    """A dataset, what is known of it, and the ticks to replay."""

    dataset: DatasetConfig
    truth: pl.DataFrame
    """OBSERVATIONS as they are known now, of all the history of the first tick and up to the last
    tick."""
    ticks: list[datetime]


def of_dataset(engine: Engine, dataset: DatasetConfig, extent: Extent) -> SimulationInput:
    """Return the past of a dataset, from its own observations; nothing is written.

    DataError when there is none, ConfigError when nothing would be left to train on.
    """
    with reading(engine) as conn:
        span = observations.span(conn, dataset.name)
        if span is None:
            raise DataError(
                f"dataset {dataset.name} has no observations",
                hint="run `forecaster retrain` or `forecaster ingest` first, or pass a file",
            )
        ticks = _ticks(dataset, span, extent)
        since = ticks[0] - dataset.history
        truth = observations.read(conn, dataset.name, since=since, until=ticks[-1])
    return SimulationInput(dataset=dataset, truth=truth, ticks=ticks)


def of_rows(
    path: Path, rows: Rows, extent: Extent, options: FileOptions, *, step: Step, steps: int
) -> SimulationInput:
    """Return the past in the rows of a file, forecast `steps` ahead, with the settings of a demo.

    ConfigError when nothing would be left to train on.
    """
    horizon = str(Step(step.count * steps, step.unit))
    shown = demo.of_file(path, options, step=str(step), horizon=horizon)
    dataset = demo.settings(shown, "").datasets[shown.name]
    ticks = _ticks(dataset, rows.span, extent)
    truth = rows.observations.filter(pl.col("timestamp") <= ticks[-1])
    return SimulationInput(dataset=dataset, truth=truth, ticks=ticks)


def _ticks(
    dataset: DatasetConfig, span: tuple[datetime, datetime], extent: Extent
) -> list[datetime]:
    (first, last), schedule = span, dataset.forecast_schedule
    most = (last - first) // schedule.shortest
    if extent.ticks is not None and extent.ticks >= most:
        raise ConfigError(
            [f"--ticks must leave some history to train on, found {extent.ticks} of {most} ticks"],
            hint=f"pass fewer --ticks, such as {min(USUAL_TICKS, max(3, most // 4))}",
        )
    newest, count = schedule.floor(last), extent.ticks or min(USUAL_TICKS, max(2, most // 4))
    oldest = misfire_policy.oldest(schedule, newest, count + 1, since=first)
    return ticks_within(span, schedule=schedule, replay=extent.replay or newest - oldest)
