"""The library for a script: a frame of rows in, quantiles and attention weights out.

A frame of rows has the columns `series_id`, `timestamp` and `value`, one row for each value, in any
order. Timestamps are instants, dates or text; those without an offset need a `timezone`. A value
that is null or not finite is a gap. Names of this module are exported by `forecaster`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Self

import polars as pl

from forecaster.config import file
from forecaster.config.settings import DatasetConfig
from forecaster.data import seasonality
from forecaster.data.panel import build
from forecaster.data.seasonality import Seasons
from forecaster.data.timestamp_marks import grid_of
from forecaster.errors import ConfigError, DataError, SkipReason
from forecaster.evaluation.metrics import summarise
from forecaster.evaluation.scoring import score_forecasts
from forecaster.inference import checkpoint, predictor
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.prediction import Prediction
from forecaster.ingestion.normalize import Columns, normalize
from forecaster.schemas import quantiles_of_level
from forecaster.training import estimator, preparation

_NAME = "rows"
_SETTINGS = "docs/reference/settings.md lists the settings, with their defaults"
_COLUMNS = "select and rename columns with polars, such as rows.rename({'ds': 'timestamp'})"
_READABLE = "convert columns with polars, and set timezone for timestamps without an offset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Forecasts of one or several cutoffs: what `Model.predict` returns."""

    prediction: Prediction
    """The tensors behind the frames."""

    @property
    def quantiles(self) -> pl.DataFrame:
        """One row per series_id, cutoff and step (1 … H), sorted; in the units of the values.

        `timestamp` is that of the step, `status` is ok, cold_start for a series that the model was
        not trained on, or fallback_naive where a naive forecast serves; q025 … q975 (Float64) are
        the QUANTILE_LEVELS, ascending, q50 the median. Closed steps have no row.
        """
        keys = ("series_id", "cutoff", "step", "timestamp", "status")
        return self.prediction.forecasts.select(*keys, *quantiles_of_level())

    @property
    def attention(self) -> pl.DataFrame:
        """One row per series_id, cutoff, future patch and source, as the view `forecast_attention`.

        A future patch is the steps `step_from` to `step_to`, a `source` is past, last or level:
        a patch of the past from `context_from` to `context_to`, the last value, or the level of the
        series. Weights are ≥ 0, and those of a future patch sum to 1. No rows where a naive
        forecast serves.
        """
        past = self.prediction.spec.past_patches
        weights = self.prediction.attention.with_columns(
            patch=pl.lit(list(range(1, past + 3)), dtype=pl.List(pl.Int32))
        ).explode("patch", "weights")
        newer = pl.when(pl.col("patch") == past + 1).then(pl.lit("last")).otherwise(pl.lit("level"))
        source = pl.when(pl.col("patch") <= past).then(pl.lit("past")).otherwise(newer)
        return weights.join(
            self.prediction.patches, on=["cutoff", "patch"], how="left", maintain_order="left"
        ).select(
            *("series_id", "cutoff", "step_from", "step_to"),
            source.alias("source"),
            *("context_from", "context_to"),
            pl.col("weights").alias("weight"),
        )

    @property
    def skipped(self) -> dict[str, SkipReason]:
        """Series without a forecast, and why: no_data, too_short, stale or non_finite."""
        return self.prediction.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A trained model: from `fit`, or from a file with `load`."""

    trained: TrainedModel
    """The network, its shape (`trained.spec`), and the scale of every series."""

    def predict(
        self,
        rows: pl.DataFrame,
        cutoffs: Sequence[datetime] | None = None,
        *,
        lower_bound: float | None = None,
        upper_bound: float | None = None,
        device: str = "auto",
    ) -> Forecast:
        """Forecast every series after each cutoff; by default after the newest row.

        `cutoffs` are aware instants. Nothing after the step of a cutoff reaches its forecast, so
        `rows` may hold later ones. Bounds clip every quantile. A series that cannot be forecast is
        in `skipped`, with the reason.

        Raises DataError for rows or cutoffs that cannot be used.
        """
        observations = _observations(rows, self.trained.spec.timezone)
        prediction = predictor.predict(
            self.trained,
            observations,
            _cutoffs(cutoffs, observations),
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            device=device,
        )
        return Forecast(prediction=prediction)

    def score(
        self, forecast: Forecast, actuals: pl.DataFrame, by: Sequence[str] = ()
    ) -> pl.DataFrame:
        """Return the accuracy of a forecast: one row, or one per `by` (series_id, lead, cutoff).

        `actuals` are the rows from the context of the cutoffs to the end of the horizon; a step
        without a value there is not scored. mase is in units of the scale of each series in
        training (of a new one, in `actuals`), seasonal_naive_mase the same of seasonal naive on the
        same points, skill is 1 - mase / seasonal_naive_mase, wql the mean weighted quantile loss of
        GluonTS, coverage_80 the share of values in the 80 % interval (likewise 50 and 95); bias and
        width_80 are in scales. No rows where nothing can be scored.
        """
        spec = self.trained.spec
        panel = build(
            _observations(actuals, spec.timezone),
            spec.grid(),
            season_length=spec.season_length,
            scales=self.trained.series_scale,
        )
        accuracy = score_forecasts(
            forecast.quantiles,
            panel,
            season_length=spec.season_length,
            lookback=max(spec.context_length, spec.season_length),
            prediction_length=spec.prediction_length,
        )
        return accuracy if accuracy.is_empty() else summarise(accuracy, by)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a file in the safetensors format; equal models give equal bytes."""
        Path(path).write_bytes(checkpoint.dumps(self.trained))

    @classmethod
    def load(cls, path: str | PathLike[str], plugins: Collection[str] = ()) -> Self:
        """Read a model that `save` wrote; it forecasts the same numbers.

        A checkpoint holds no code. `plugins` are the names of scores and priors of your own, which
        are imported only where they are named here.

        Raises IncompatibleCheckpoint for a damaged file, one of another version, or one with a
        plug-in that is not named; OSError where there is no such file.
        """
        return cls(trained=checkpoint.loads(Path(path).read_bytes(), enabled=plugins))


def fit(
    rows: pl.DataFrame,
    *,
    step: str,
    horizon: str,
    timezone: str | None = None,
    model: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Model:
    """Train a model on a frame of rows, all series together.

    `step` is the time between two values and `horizon` how far ahead to forecast, durations such as
    "5m", "1h", "1d" or "1w"; `timezone` is the clock of seasons and of timestamps without an
    offset, UTC by default. `model` and `training` are the settings of `[datasets.NAME.model]` and
    `[datasets.NAME.training]`; what is not set follows from the rows.

    Raises ConfigError that lists all wrong settings, DataError for rows that cannot be used, its
    InsufficientHistory where they are too few, UnusablePlugin and TrainingDiverged. The global
    random state stays as it is, and equal arguments give equal models on one machine.
    """
    dataset = _settings(
        step=step, horizon=horizon, timezone=timezone, model=model, training=training
    )
    panel, spec = preparation.prepare(_observations(rows, timezone), dataset)
    return Model(trained=estimator.fit(panel, spec, dataset.training).model)


def detect_seasons(rows: pl.DataFrame, *, step: str, timezone: str | None = None) -> Seasons:
    """Return the `season_length` and the `long_season` of a frame of rows, in steps; 1 for none.

    They are the shortest and the longest of the hour, the day, the week and the year that are
    whole steps and are found in the rows.

    Raises ConfigError for a step that is no duration, DataError for rows that cannot be used.
    """
    dataset = _settings(step=step, horizon=step, timezone=timezone)
    observations = _observations(rows, timezone)
    grid = grid_of(observations, dataset.step, timezone or "UTC")
    return seasonality.detect_seasons(build(observations, grid), dataset.step)


def _settings(**values: object) -> DatasetConfig:
    """Read settings as those of a configuration file, by the same rules."""
    settings = {"database_url": "sqlite:///unused.db", "datasets": {_NAME: _as_toml(values)}}
    try:
        return file.read(settings, {}, read_file=str).finished().datasets[_NAME]
    except ConfigError as error:
        problems = [problem.removeprefix(f"datasets.{_NAME}.") for problem in error.problems]
        raise ConfigError(problems, hint=_SETTINGS) from None


def _as_toml(value: object) -> object:
    """Return a setting as a file would give it: arrays are lists, and what is None is not set."""
    if isinstance(value, Mapping):
        return {str(key): _as_toml(part) for key, part in value.items() if part is not None}
    return list(value) if isinstance(value, tuple) else value


def _observations(rows: pl.DataFrame, timezone: str | None) -> pl.DataFrame:
    """Return OBSERVATIONS; DataError unless every row can be used or is a gap."""
    if not isinstance(rows, pl.DataFrame):
        message = f"expected a polars DataFrame, found {type(rows).__name__}"
        raise DataError(message, hint="pass polars.DataFrame(rows), or polars.from_pandas(rows)")
    try:
        normalized = normalize(rows, Columns(), timezone=timezone)
    except DataError as error:
        hint = _COLUMNS if error.message.startswith("missing columns") else _READABLE
        raise DataError(error.message, hint=hint) from None
    if lost := normalized.lost.rows:
        described = normalized.lost.described()
        raise DataError(f"{lost} of {rows.height} rows are unusable: {described}", hint=_READABLE)
    if normalized.observations.is_empty():
        raise DataError("expected at least one row with a value, found none")
    return normalized.observations


def _cutoffs(given: Sequence[datetime] | None, observations: pl.DataFrame) -> Sequence[datetime]:
    if given is None:
        return [observations["timestamp"].max()]  # type: ignore[list-item]
    naive = [str(cutoff) for cutoff in given if cutoff.tzinfo is None]
    if naive or not given:
        shown = ", ".join(naive) or "none"
        raise DataError(
            f"expected cutoffs with a time zone, found {shown}",
            hint="pass cutoff.replace(tzinfo=UTC)",
        )
    return given
