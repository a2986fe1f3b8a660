"""Scores as the published tables define them, on arrays: B windows, H steps, nine quantiles.

MASE, sMAPE and OWA are those of M4; GIFT-Eval takes the mean over all points, each window with the
seasonal error of its own history, and calls the WQL over nine levels CRPS (`gluonts.ev`).
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from forecaster.frames import QUANTILE_LEVELS
from forecaster.series import accuracy

Array: TypeAlias = NDArray[np.float64]

NINE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The levels of every WQL here: those of GIFT-Eval and of the published figures."""

MEDIAN = NINE.index(0.5)


def nine(quantiles: Array) -> Array:
    """Return the nine levels (…, 9) among ours (…, Q)."""
    chosen: Array = quantiles[..., [QUANTILE_LEVELS.index(level) for level in NINE]]
    return chosen


def point(forecast: Array) -> Array:
    """Return a point forecast (B, H) as nine equal quantiles (B, H, 9)."""
    return np.broadcast_to(forecast[..., None], (*forecast.shape, len(NINE)))


def judge(actual: Array, quantiles: Array, scale: Array) -> dict[str, float]:
    """Score quantiles (B, H, 9) against actual (B, H), NaN where unknown, in scales (B,).

    A point forecast covers nothing: its coverage is left out.
    """
    median, low, high = (quantiles[..., place] for place in (MEDIAN, 0, -1))
    scores = {
        "mase": accuracy.mase(actual, median, scale),
        "smape": accuracy.smape(actual, median),
        "wql": accuracy.wql(actual, quantiles, NINE),
    }
    if np.array_equal(low, high, equal_nan=True):
        return scores
    return {**scores, "coverage_80": accuracy.coverage(actual, low, high)}


def with_owa(scores: Mapping[str, float], naive2: Mapping[str, float]) -> dict[str, float]:
    """Return `scores` with their OWA against those of Naive2."""
    owa = accuracy.owa(
        scores["smape"],
        scores["mase"],
        naive2_smape=naive2["smape"],
        naive2_mase=naive2["mase"],
    )
    return {**scores, "owa": owa}


def gift_windows(length: int, prediction_length: int) -> int:
    """Return how many test windows GIFT-Eval takes from the end of a dataset."""
    tenth = -(-length // (10 * prediction_length))
    return min(max(1, tenth), 20)


def mean_forecast(forecasts: Sequence[Array]) -> Array:
    """Return the mean of several forecasts (B, H, 9), level by level."""
    mean: Array = np.mean(forecasts, axis=0)
    return mean
