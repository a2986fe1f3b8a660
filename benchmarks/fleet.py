"""Many made-up series in a database, and a model of the real size that forecasts them.

The network is untrained: its weights do not change what a forecast costs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.data.anchor import detect_grid
from forecaster.data.panel import build
from forecaster.data.seasonality import Seasons
from forecaster.inference import checkpoint
from forecaster.inference.checkpoint import TrainedModel
from forecaster.network.network import AttentionLSTM
from forecaster.network.spec import ModelSpec
from forecaster.schemas import INSTANT, OBSERVATIONS
from forecaster.store.connection.engine import writing
from forecaster.store.observations import observations
from forecaster.store.state import models, watermarks
from forecaster.store.state.models import NewModel
from forecaster.times.durations import Step
from forecaster.times.schedules import Every
from forecaster.training.hyperparameters import derive
from jobs.stages.pull_progress import WATERMARK

START = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MODEL_SERIES = 8
BLOCK_ROWS = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """So many hourly series with a history of `context` hours, forecast 48 hours ahead."""

    series: int
    context: int

    @cached_property
    def names(self) -> Sequence[str]:
        return [f"host-{number:06d}/cpu.load" for number in range(self.series)]

    @cached_property
    def dataset(self) -> DatasetConfig:
        return DatasetConfig(
            name="fleet",
            step=Step(count=HOUR // timedelta(microseconds=1), unit="microsecond"),
            prediction_length=48,
            query="SELECT series_id, timestamp, value FROM metrics",
            forecast_schedule=Every(HOUR),
            retrain_schedule=Every(24 * HOUR),
            history=self.context * HOUR,
            late_data=timedelta(0),
        )

    def rows(self, names: Sequence[str], first: int, hours: int) -> pl.DataFrame:
        """OBSERVATIONS of some of the series from hour `first` on: a day, a phase and noise."""
        hour = np.arange(first, first + hours)
        noise = np.random.default_rng(first).normal(size=(len(names), hours))
        phase = np.arange(len(names))[:, None]
        values = 10 + 3 * np.sin(hour / 24 * 2 * np.pi + phase) + noise
        stamps = int(START.timestamp() * 1e6) + hour * (HOUR // timedelta(microseconds=1))
        return pl.DataFrame(
            {
                "series_id": pl.Series(names, dtype=pl.String)
                .to_frame("series_id")
                .select(pl.col("series_id").repeat_by(hours).explode())
                .to_series(),
                "timestamp": pl.Series(np.tile(stamps, len(names))).cast(INSTANT),
                "value": values.reshape(-1),
            },
            schema=OBSERVATIONS,
        )

    def history(self) -> Iterator[pl.DataFrame]:
        """OBSERVATIONS of all series, some series at a time."""
        at_once = max(1, BLOCK_ROWS // self.context)
        for first in range(0, self.series, at_once):
            yield self.rows(self.names[first : first + at_once], 0, self.context)

    def settle(self, engine: Engine) -> None:
        """Land the history and put a model in service, as if it had been trained on it."""
        for frame in self.history():
            with writing(engine) as conn:
                observations.ingest(conn, self.dataset.name, frame, recorded_at=self.end)
        with writing(engine) as conn:
            model_id = models.add(conn, self.dataset.name, self.model())
            models.promote(conn, self.dataset.name, model_id, now=self.end, reason="benchmark")
            watermarks.advance(
                conn, self.dataset.name, WATERMARK, self.end - HOUR / 2, now=self.end
            )

    @property
    def end(self) -> datetime:
        """The first instant after the history."""
        return START + self.context * HOUR

    @cached_property
    def spec(self) -> ModelSpec:
        """What the default configuration makes of hourly series with a day and a week."""
        few = self.rows(self.names[:MODEL_SERIES], 0, self.context)
        panel = build(few, detect_grid(few, self.dataset.step, "UTC"), season_length=24)
        spec = derive(self.dataset, Seasons(season_length=24, long_season=168), panel)
        return replace(spec, context_length=self.context)

    def model(self) -> NewModel:
        model = TrainedModel(
            spec=self.spec,
            network=AttentionLSTM(self.spec).eval(),
            series_scale=dict.fromkeys(self.names, 3.0),
        )
        weights = checkpoint.dumps(model)
        return NewModel(
            config=asdict(self.spec),
            weights=weights,
            sha256=hashlib.sha256(weights).hexdigest(),
            scores={},
            trained_from=START,
            trained_to=self.end - HOUR,
            parent_id=None,
            created_at=self.end,
        )
