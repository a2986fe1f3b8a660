"""Metrics of M4 and GluonTS on arrays, independent of those that the package sums up.

Exact definitions: M4 (Makridakis et al. 2020, "The M4 Competition: 100,000 time series and 61
forecasting methods", and its `Benchmarks and Evaluation.R`) for mase, smape and owa; GluonTS
(`gluonts.ev`) and GIFT-Eval for wql, there called mean weighted sum quantile loss.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


def seasonal_error(history: Array, season_length: int) -> Array:
    """Return mean |y_t - y_{t - season_length}| of each history (N, T) with gaps, (N,).

    The denominator of MASE (M4); a history not longer than the season uses 1 (GluonTS).
    """
    lag = season_length if history.shape[1] > season_length else 1
    return _mean(np.abs(history[:, lag:] - history[:, :-lag]), axis=1)


def mase(actual: Array, forecast: Array, scale: Array) -> float:
    """Return the mean over series of mean |y - f| / scale (M4); (N, H), (N, H) and (N,)."""
    return float(_mean(_mean(np.abs(actual - forecast), axis=1) / scale, axis=0))


def smape(actual: Array, forecast: Array) -> float:
    """Return the mean over series of mean 200 |y - f| / (|y| + |f|), in percent (M4).

    A point where both are zero counts as no error.
    """
    size = np.abs(actual) + np.abs(forecast)
    error = 200 * np.abs(actual - forecast) / np.where(size == 0, 1, size)
    return float(_mean(_mean(error, axis=1), axis=0))


def owa(smape: float, mase: float, *, naive2_smape: float, naive2_mase: float) -> float:
    """Return the overall weighted average against Naive2, from the aggregated values (M4)."""
    return (smape / naive2_smape + mase / naive2_mase) / 2


def pinball(actual: Array, quantiles: Array, levels: Sequence[float]) -> Array:
    """Return max(q (y - f), (q - 1) (y - f)) for actual (N, H), quantiles (N, H, Q): (N, H, Q)."""
    error, level = actual[..., None] - quantiles, np.asarray(levels)
    return np.maximum(level * error, (level - 1) * error)


def wql(actual: Array, quantiles: Array, levels: Sequence[float]) -> float:
    """Return the mean over levels of 2 Σ pinball / Σ|y|, sums over all points (GluonTS)."""
    total = np.nansum(pinball(actual, quantiles, levels))
    return float(2 * total / len(levels) / np.nansum(np.abs(actual)))


def coverage(actual: Array, lower: Array, upper: Array) -> float:
    """Return the share of observed actuals with lower <= actual <= upper."""
    observed = ~np.isnan(actual)
    return float(((lower <= actual) & (actual <= upper))[observed].mean())


def _mean(values: Array, axis: int) -> Array:
    """Return the mean of the values that are not NaN; NaN, without a warning, if there are none."""
    observed = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Array = np.nansum(values, axis=axis) / observed.sum(axis=axis)
    return mean
