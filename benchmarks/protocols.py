"""Which series, which windows, which denominators: the protocol of every benchmark."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl
import torch
from torch import Tensor

from benchmarks import data, exact
from benchmarks.scores import Array, all_levels, gift_windows, nine
from forecaster.config.settings import DatasetConfig, TrainingConfig
from forecaster.data.panel import Panel
from forecaster.data.windows import Windows, gather
from forecaster.evaluation.rolling_origin import Backtest, Predictor, backtest
from forecaster.inference import predictor
from forecaster.inference.checkpoint import TrainedModel
from forecaster.schemas import DEVIATION_COLUMNS, QUANTILE_LEVELS
from forecaster.times.durations import Step
from forecaster.times.schedules import Every
from forecaster.training import preparation

MOST_ROWS = 300_000
"""Of forecasts held at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A dataset and its protocol; lengths are in steps.

    `test` is the length of the test part, or its share; forecasts start every `stride` steps,
    `partial` ones at the end included. `season` is that of MASE; its denominator is the seasonal
    error of what training may see, or, `moving`, of all that lies before each window (GIFT-Eval).
    """

    name: str
    about: str
    load: Callable[[], pl.DataFrame]
    file: str | None = None
    step: str = "1h"
    horizon: int = 48
    test: float = 0.2
    stride: int = 48
    season: int = 24
    seasons: tuple[int, ...] = (24, 168)
    timezone: str = "UTC"
    partial: bool = False
    moving: bool = False

    def absent(self) -> str | None:
        """Return why the data cannot be read, or None where they can."""
        return data.absent(self.file) if self.file else None

    def config(self, seed: int, steps: int | None = None) -> DatasetConfig:
        """Return the configuration a user would write: step, horizon and zone."""
        return DatasetConfig(
            name=self.name,
            step=Step.parse(self.step),
            prediction_length=self.horizon,
            timezone=self.timezone,
            forecast_schedule=Every(timedelta(hours=1)),
            retrain_schedule=Every(timedelta(days=1)),
            history=timedelta(days=36_500),
            late_data=timedelta(0),
            training=TrainingConfig(seed=seed, steps=steps, device="cpu"),
        )


M4 = Task(
    name="m4_hourly",
    about="official split: 414 series, the last 48 points",
    load=data.m4_hourly,
    file="m4_hourly",
    test=48,
)
ETTH1_GIFT = Task(
    name="etth1_gift_short",
    about="ETTh1, windows and denominators of GIFT-Eval `ett1/H/short`: the last 20 x 48 steps",
    load=lambda: data.shared("etth1"),
    file="etth1",
    test=48 * gift_windows(17_420, 48),
    moving=True,
)
TASKS = (
    M4,
    ETTH1_GIFT,
    Task(
        name="exchange_rate",
        about="daily, 30 days ahead, a forecast every day of the last 20 %; MASE with season 1",
        load=lambda: data.shared("exchange_rate"),
        file="exchange_rate",
        step="1d",
        horizon=30,
        stride=1,
        season=1,
        seasons=(7,),
    ),
    Task(
        name="bike_sharing",
        about="hourly, 48 hours ahead, one forecast after the other over the last 20 %",
        load=lambda: data.shared("bike_sharing", "America/New_York"),
        file="bike_sharing",
        timezone="America/New_York",
    ),
    Task(
        name="nab_aws_cloudwatch",
        about="every 5 minutes, 48 steps ahead, the last 16 windows; series moved to end together",
        load=data.nab_aws_cloudwatch,
        file="nab_aws_cloudwatch",
        step="5m",
        test=48 * 16,
        season=288,
        seasons=(288,),
    ),
    Task(
        name="co2",
        about="weekly, 13 weeks ahead, a forecast every week of the last 104",
        load=data.co2,
        step="1w",
        horizon=13,
        test=104,
        stride=1,
        season=52,
        seasons=(52,),
        partial=True,
    ),
)


class Trial:
    """The test windows of a task: B pairs of a series and a cutoff, sorted by both."""

    def __init__(self, task: Task) -> None:
        self.task, self.observations = task, task.load()
        self.panel, _ = preparation.prepare(self.observations, task.config(0))
        self.grid, panel = self.panel.grid, self.panel
        steps = int(task.test if task.test > 1 else panel.length * task.test)
        self.train_end = panel.end - steps
        last = panel.end - (1 if task.partial else task.horizon)
        self.ends = list(range(self.train_end, last + 1, task.stride))
        self.rows, self.cutoffs = pairs(panel, self.ends)
        self.actual = actual(panel, self.rows, self.cutoffs, task.horizon)
        self.history = in_units(panel, slice(None), panel.deviations)
        self.scale = self._scale()
        self.names = tuple(f"{window:06}" for window in range(len(self.rows)))

    def known(self) -> pl.DataFrame:
        """Return what training may see."""
        indices = self.grid.index_of(self.observations["timestamp"])
        return self.observations.filter(indices <= self.train_end)

    def seen(self, row: int) -> Array:
        """Return what training may see of a series, without gaps, (T,)."""
        values = self.history[row, : self.train_end - self.panel.start + 1]
        return values[~np.isnan(values)]

    def context(self, length: int) -> Tensor:
        """Return the last `length` steps before each window, in panel deviations (B, L)."""
        return gather(self.panel, self.rows, self.cutoffs, length).context

    def values(self, deviations: Tensor) -> Array:
        """Return panel deviations (B, …) in the units of the data."""
        return in_units(self.panel, self.rows, deviations)

    def forecast(self, model: TrainedModel) -> Array:
        """Return the forecasts of `model` (B, H, 9), NaN for windows that it skips."""
        count = len(self.panel)
        parts = [
            quantiles.reshape(count, len(ends), *quantiles.shape[1:])
            for ends, quantiles in forecasts(model, self.observations, self.panel, self.ends)
        ]
        return np.concatenate(parts, axis=1).reshape(*self.actual.shape, -1)

    def backtest(self, predictors: Mapping[str, Predictor], *, context_length: int = 1) -> Backtest:
        """Judge predictors on the points that all of them have.

        As M4 counts, every window is a series of its own, with one of `names` and the denominator
        of the task. Rows that a predictor sees are windows, 0 … B - 1.
        """
        first = self.train_end + 1 - max(context_length, self.task.season)
        found = backtest(
            predictors,
            self._one_row_per_window(max(first, self.panel.start)),
            torch.stack((torch.arange(len(self.rows)), self.cutoffs), 1),
            context_length=context_length,
            prediction_length=self.task.horizon,
            season_length=self.task.season,
        )
        scales = pl.DataFrame({"series_id": self.names, "scale": self.scale})
        sums = found.sums.drop("scale").join(scales, on="series_id", maintain_order="left")
        return replace(found, sums=sums)

    def _one_row_per_window(self, first: int) -> Panel:
        panel = self.panel
        return replace(
            panel,
            series_ids=self.names,
            start=first,
            deviations=panel.deviations[:, first - panel.start :][self.rows],
            offset=panel.offset[self.rows],
            scale=panel.scale[self.rows],
        )

    def said(self, quantiles: Array) -> Predictor:
        """Return forecasts (B, H, 9) made before as a predictor for `backtest`."""
        offset, scale = (
            part[self.rows, None, None] for part in (self.panel.offset, self.panel.scale)
        )
        deviations = (torch.from_numpy(all_levels(quantiles)) - offset) / scale

        def predict(windows: Windows) -> Tensor:
            return deviations[windows.rows].float()

        return predict

    def _scale(self) -> Array:
        """Return the denominator of MASE for each window, (B,)."""
        season, start = self.task.season, self.panel.start
        if not self.task.moving:
            before = self.history[:, : self.train_end - start + 1]
            every: Array = exact.seasonal_error(before, season)[self.rows.numpy()]
            return every
        errors = [
            exact.seasonal_error(self.history[:, : end - start + 1], season) for end in self.ends
        ]
        return np.stack(errors, axis=1).ravel()


def pairs(panel: Panel, ends: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return rows and cutoffs (B,) of every series at every end, sorted by both."""
    rows = torch.arange(len(panel)).repeat_interleave(len(ends))
    return rows, torch.tensor(ends).repeat(len(panel))


def actual(panel: Panel, rows: Tensor, cutoffs: Tensor, horizon: int) -> Array:
    """Return what happened after each cutoff, (B, H), NaN where unknown."""
    target = gather(panel, rows, cutoffs, 1, horizon).target
    assert target is not None
    return in_units(panel, rows, target)


def in_units(panel: Panel, rows: Tensor | slice, deviations: Tensor) -> Array:
    """Return deviations (B, …) of some rows of a panel in the units of the data."""
    shape = (-1, *[1] * (deviations.dim() - 1))
    offset, scale = panel.offset[rows].view(shape), panel.scale[rows].view(shape)
    values: Array = (offset + scale * deviations).numpy()
    return values


def forecasts(
    model: TrainedModel, observations: pl.DataFrame, panel: Panel, ends: Sequence[int]
) -> Iterator[tuple[Sequence[int], Array]]:
    """Forecast as a user would, some cutoffs at a time: these, and their quantiles (B, H, 9).

    B pairs are sorted by series and cutoff; those that the model skips are NaN.
    """
    horizon = model.spec.prediction_length
    size = max(1, MOST_ROWS // (len(panel) * horizon))
    for place in range(0, len(ends), size):
        part = ends[place : place + size]
        cutoffs = [panel.grid.timestamp_at(end) for end in part]
        said = predictor.predict(model, observations, cutoffs, device="cpu").forecasts
        yield part, _quantiles(said, panel, part, horizon)


def _quantiles(said: pl.DataFrame, panel: Panel, ends: Sequence[int], horizon: int) -> Array:
    """Return the nine quantiles of FORECASTS at every pair of `panel` and `ends`, (B, H, 9)."""
    places = pl.DataFrame({"series_id": panel.series_ids, "row": np.arange(len(panel))})
    columns = pl.DataFrame({"end": ends, "column": np.arange(len(ends))})
    located = said.with_columns(panel.grid.index_of(said["cutoff"]).alias("end"))
    located = located.join(places, on="series_id", maintain_order="left")
    located = located.join(columns, on="end", maintain_order="left")
    quantiles = np.full((len(panel), len(ends), horizon, len(QUANTILE_LEVELS)), np.nan)
    row, column, step = (located[name].to_numpy() for name in ("row", "column", "step"))
    values = located.select(pl.col(name) + pl.col("level") for name in DEVIATION_COLUMNS)
    quantiles[row, column, step - 1] = values.to_numpy()
    return nine(quantiles.reshape(-1, horizon, len(QUANTILE_LEVELS)))
