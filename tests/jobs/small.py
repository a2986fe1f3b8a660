"""A small dataset with a tiny model: everything a whole tick needs, in a second or two."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
from sqlalchemy import Engine, text

from forecaster.config.settings import (
    Config,
    DatasetConfig,
    ModelConfig,
    RetentionConfig,
    TrainingConfig,
)
from forecaster.schemas import OBSERVATIONS
from forecaster.store.connection.engine import writing
from forecaster.store.observations import observations
from forecaster.times.durations import Step
from forecaster.times.schedules import Every
from jobs import catalog
from jobs.execution.job import Job
from jobs.execution.runner import Outcome, run_job
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache
from tests.jobs.fitting import fit_once

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
HORIZON = 12
LAST = 400
"""The newest hour that is known at the first tick."""
SCALE = 30.0
"""The values of the series go up to this."""

DATASET = DatasetConfig(
    name="bikes",
    step=Step.parse("1h"),
    prediction_length=HORIZON,
    forecast_schedule=Every(HOUR),
    retrain_schedule=Every(24 * HOUR),
    history=timedelta(days=365),
    late_data=2 * HOUR,
    model=ModelConfig(hidden_size=8, layers=1, heads=2, statistics="window", calendar=False),
    training=TrainingConfig(steps=4, batch_size=8, device="cpu", naive_guard=False),
)


def rows(series_id: str, first: int, last: int) -> pl.DataFrame:
    """OBSERVATIONS of one series with a day and a little noise, hours `first` … `last`."""
    hours = range(first, last + 1)
    phase = sum(series_id.encode())
    return pl.DataFrame(
        {
            "series_id": [series_id] * len(hours),
            "timestamp": [START + hour * HOUR for hour in hours],
            "value": [
                20 + 8 * math.sin(math.tau * hour / 24 + phase) + math.sin(hour * hour + phase)
                for hour in hours
            ],
        },
        schema=OBSERVATIONS,
    )


def land(engine: Engine, *frames: pl.DataFrame, dataset: str = "bikes") -> None:
    """Land `frames` as known since the last instant in them."""
    frame = pl.concat(frames).sort("series_id", "timestamp")
    known_at = frame["timestamp"].max()
    assert isinstance(known_at, datetime)
    with writing(engine) as conn:
        observations.ingest(conn, dataset, frame, recorded_at=known_at)


@dataclass(kw_only=True)
class World:
    """A program without a shell: its jobs, its clock, and what it said."""

    engine: Engine
    dataset: DatasetConfig = DATASET
    others: tuple[DatasetConfig, ...] = ()
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    champions: Champions = field(default_factory=Champions)
    panels: PanelCache = field(default_factory=PanelCache)
    outcomes: list[Outcome] = field(default_factory=list)

    def job(self, name: str) -> Job:
        config = Config(
            database_url="",
            datasets={each.name: each for each in (self.dataset, *self.others)},
            retention=self.retention,
        )
        return catalog.jobs(config, champions=self.champions, panels=self.panels, fit=fit_once)[
            name
        ]

    def tick(self, name: str, tick: datetime, *, now: datetime | None = None) -> Outcome:
        """Run one job for one tick; it wakes up a second late unless told otherwise."""
        return run_job(
            self.job(name),
            self.engine,
            self.dataset,
            tick=tick,
            clock=fixed(now or tick + timedelta(seconds=1)),
            observe=self.outcomes.append,
        )


def fixed(now: datetime) -> Callable[[], datetime]:
    """A clock that stands still."""
    return lambda: now


def hour(number: int) -> datetime:
    return START + number * HOUR


def query(engine: Engine, statement: str) -> list[tuple[object, ...]]:
    """The rows of a SELECT."""
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement))]
