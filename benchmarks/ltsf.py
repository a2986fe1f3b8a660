"""ETTh1 as the long-horizon literature scores it: MSE and MAE of z-scores over every window.

The first 8 640 rows train (12 months), the next 2 880 (4 months) are for choosing between models
and are left alone here, forecasts are judged on the 2 880 after them: one at every step whose whole
target lies there, none dropped. z-scores take mean and standard deviation of the training rows.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks import data
from benchmarks.fitting import Fitted, fitted
from benchmarks.protocols import Task, actual, forecasts, in_units, pairs
from benchmarks.scores import MEDIAN, Array
from benchmarks.tables import Cell, Row, over_seeds
from forecaster.baselines import naive
from forecaster.data.panel import Panel
from forecaster.data.windows import gather
from forecaster.training import preparation

HORIZONS = (96, 192, 336, 720)
TRAIN, VALIDATION, TEST = 8640, 2880, 2880
WINDOWS = 64
"""Cutoffs of naive forecasts held at once."""


def task(horizon: int) -> Task:
    """Return the task of one horizon."""
    return Task(
        name=f"etth1_ltsf_{horizon}",
        about=f"ETTh1, long-horizon protocol, {horizon} steps ahead: {TRAIN} rows train, every "
        f"window of the {TEST} rows after the {VALIDATION} for validation; errors of z-scores",
        load=lambda: data.shared("etth1"),
        file="etth1",
        horizon=horizon,
    )


def test_ends(start: int, horizon: int) -> range:
    """Return the cutoffs of all test windows on a grid whose first row is `start`."""
    first = start + TRAIN + VALIDATION - 1
    return range(first, first + TEST - horizon + 1)


class Errors:
    """Mean squared and absolute errors of z-scores, window by window."""

    def __init__(self, panel: Panel) -> None:
        """Take the standard deviation of each series from the training rows of `panel`."""
        values = in_units(panel, slice(None), panel.deviations[:, :TRAIN])
        self._deviation = values.std(axis=1)
        self._squared = self._absolute = 0.0
        self._points = 0

    def add(self, rows: NDArray[np.int64], actual: Array, forecast: Array) -> None:
        """Add windows (B, H) of the series in `rows` (B,)."""
        errors = (forecast - actual) / self._deviation[rows, None]
        self._squared += float(np.square(errors).sum())
        self._absolute += float(np.abs(errors).sum())
        self._points += errors.size

    def scores(self, name: str) -> dict[str, Cell]:
        """Return the scores of all windows so far."""
        return {
            "forecast": name,
            "mse": self._squared / self._points,
            "mae": self._absolute / self._points,
        }


def run(horizon: int, seeds: Sequence[int], steps: int | None = None) -> list[Row]:
    """Train once per seed and score every window; naive forecasts beside it."""
    chosen = task(horizon)
    observations = chosen.load()
    panel, _ = preparation.prepare(observations, chosen.config(0))
    known = panel.grid.index_of(observations["timestamp"]) < panel.start + TRAIN
    rows: list[Row] = []
    for seed in seeds:
        fit = fitted(observations.filter(known), chosen.config(seed, steps))
        rows.append({**_model(f"model, seed {seed}", fit, observations, panel), **fit.costs()})
    if len(rows) > 1:
        rows.append(over_seeds(f"model, mean of {len(rows)} seeds", rows))
    return [*rows, *_naive(panel, horizon)]


def _model(name: str, fit: Fitted, observations: pl.DataFrame, panel: Panel) -> dict[str, Cell]:
    errors, horizon = Errors(panel), fit.model.spec.prediction_length
    started = time.process_time()
    ends = test_ends(panel.start, horizon)
    for part, quantiles in forecasts(fit.model, observations, panel, ends):
        rows, cutoffs = pairs(panel, part)
        errors.add(rows.numpy(), actual(panel, rows, cutoffs, horizon), quantiles[..., MEDIAN])
    return {**errors.scores(name), "forecast_cpu_s": time.process_time() - started}


def _naive(panel: Panel, horizon: int) -> Iterator[Row]:
    ends = test_ends(panel.start, horizon)
    for season in (1, 24):
        errors = Errors(panel)
        for place in range(0, len(ends), WINDOWS):
            rows, cutoffs = pairs(panel, ends[place : place + WINDOWS])
            context = gather(panel, rows, cutoffs, 2 * season).context
            said = in_units(panel, rows, naive.seasonal_naive(context, horizon, season))
            errors.add(rows.numpy(), actual(panel, rows, cutoffs, horizon), said)
        yield errors.scores(f"seasonal_naive {season}" if season > 1 else "naive")
