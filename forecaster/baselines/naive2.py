"""Naive2, the benchmark of the M4 competition, as its `Benchmarks and Evaluation.R` computes it."""

import numpy as np
import torch
from torch import Tensor

from forecaster.baselines.histories import Array, histories
from forecaster.schemas import QUANTILE_LEVELS

CRITICAL = 1.645
"""Of the two-sided 90 % test on the autocorrelation at the season."""


def naive2_quantiles(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Return `naive2` of contexts (B, L) with gaps as equal quantiles (B, H, Q): it has no spread.

    In the units of the data, which must not be shifted: its season is a factor. A row without any
    value is NaN.
    """
    points = context.new_full((len(context), prediction_length), torch.nan)
    for history in histories(context):
        steps = prediction_length + history.age
        forecast = naive2(history.values, steps, season_length)[history.age :]
        points[history.row] = torch.from_numpy(forecast).to(points)
    return points[..., None].expand(-1, -1, len(QUANTILE_LEVELS))


def naive2(history: Array, prediction_length: int, season_length: int) -> Array:
    """Repeat the last value of the seasonally adjusted history (T,), season put back: (H,).

    The adjustment is multiplicative, and made only where all values are positive and
    `is_seasonal`.
    """
    if season_length < 2 or history.min() <= 0 or not is_seasonal(history, season_length):
        return np.full(prediction_length, history[-1])
    indices = seasonal_indices(history, season_length)
    phase = (len(history) + np.arange(prediction_length)) % season_length
    last = history[-1] / indices[(len(history) - 1) % season_length]
    forecast: Array = last * indices[phase]
    return forecast


def is_seasonal(history: Array, season_length: int) -> bool:
    """Test |r_m| > 1.645 · sqrt((1 + 2 · sum of r_i² for i < m) / n) on at least three seasons."""
    count = len(history)
    if count < 3 * season_length:
        return False
    centred = history - history.mean()
    spread = float(centred @ centred)
    if spread == 0:
        return False
    lags = range(1, season_length + 1)
    correlation = np.array([centred[lag:] @ centred[:-lag] for lag in lags]) / spread
    limit = CRITICAL * np.sqrt((1 + 2 * (correlation[:-1] ** 2).sum()) / count)
    return bool(abs(correlation[-1]) > limit)


def seasonal_indices(history: Array, season_length: int) -> Array:
    """Return the factor of each phase (m,), mean 1: classical decomposition, R's `decompose`."""
    trend = _centred_mean(history, season_length)
    ratio = np.full(-(-len(history) // season_length) * season_length, np.nan)
    ratio[: len(history)] = history / trend
    figure = np.nanmean(ratio.reshape(-1, season_length), axis=0)
    indices: Array = figure / figure.mean()
    return indices


def _centred_mean(history: Array, season_length: int) -> Array:
    """Return the moving average over one season, NaN where it does not fit; an even season takes
    half of both ends."""
    weights = np.ones(season_length + 1 - season_length % 2)
    if season_length % 2 == 0:
        weights[[0, -1]] = 0.5
    mean = np.full(len(history), np.nan)
    half = season_length // 2
    mean[half : len(history) - half] = np.convolve(history, weights, "valid") / season_length
    return mean
