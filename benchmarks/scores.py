"""What published tables score that a backtest does not: B windows, H steps, nine quantiles.

OWA is that of M4; GIFT-Eval calls the WQL over nine levels CRPS (`gluonts.ev`). MASE, sMAPE and
coverage come from `forecaster.evaluation.rolling_origin`, through
`benchmarks.protocols.Trial.backtest`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks import exact
from forecaster.schemas import QUANTILE_LEVELS

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


def all_levels(quantiles: Array) -> Array:
    """Return ours (…, Q) from nine (…, 9): the two on either side repeat the outermost.

    No score that is taken from them looks at these.
    """
    nearest = [int(np.abs(np.array(NINE) - level).argmin()) for level in QUANTILE_LEVELS]
    chosen: Array = quantiles[..., nearest]
    return chosen


def wql(actual: Array, quantiles: Array) -> float:
    """Return the WQL over nine levels of quantiles (B, H, 9); NaN of actual (B, H) is left out."""
    return exact.wql(actual, quantiles, NINE)


def published(found: Mapping[str, float], wql: float) -> dict[str, float]:
    """Return the scores of our tables from a row of a `Backtest` and the WQL over nine levels.

    A point forecast covers nothing: its coverage is left out.
    """
    scores = {"mase": found["mase"], "smape": found["smape"], "wql": wql}
    return {**scores, "coverage_80": found["coverage_80"]} if found["width_80"] else scores


def with_owa(scores: Mapping[str, float], naive2: Mapping[str, float]) -> dict[str, float]:
    """Return `scores` with their OWA against those of Naive2."""
    owa = exact.owa(
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
