"""Baselines by name: quantile forecasts without training, which every score is relative to.

The naive ones have the intervals of their textbook; `forecaster.baselines.naive` has their points.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Protocol

import torch
from torch import Tensor

from forecaster.baselines.markov_chain import markov_chain
from forecaster.baselines.markov_switching import markov_switching
from forecaster.baselines.naive import (
    drift_quantiles,
    naive_quantiles,
    seasonal_naive_drift_quantiles,
    seasonal_naive_quantiles,
)
from forecaster.schemas import QUANTILE_LEVELS


class Baseline(Protocol):
    """Forecast quantiles (B, H, Q), ascending, from a context (B, L) with gaps.

    In the units, dtype and device of the context. What is not finite counts as missing; a row
    without any observation is NaN, all others are finite.
    """

    def __call__(self, context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
        """Forecast from `context`."""


def _robust(forecast: Baseline) -> Baseline:
    """Hand `forecast` only rows with a value, in float64, none above 2, and make it ascend."""

    @wraps(forecast)
    def robust(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
        values = context.double().where(context.isfinite(), torch.nan)
        result = values.new_full((len(context), prediction_length, len(QUANTILE_LEVELS)), torch.nan)
        rows = (~values.isnan()).any(1)
        if rows.any():
            unit = _unit(values[rows])[:, None]
            quantiles = forecast(values[rows] / unit, prediction_length, season_length)
            result[rows] = quantiles.cummax(2).values * unit[..., None]
        limit = torch.finfo(context.dtype).max
        return result.clamp(-limit, limit).to(context.dtype)

    return robust


def _unit(values: Tensor) -> Tensor:
    """Return the power of two (B,) that brings the largest value of a row between 1 and 2."""
    _, exponent = values.nan_to_num().abs().amax(1).frexp()
    return torch.pow(2.0, (exponent - 1).double())


BASELINES: Mapping[str, Baseline] = {
    "naive": _robust(naive_quantiles),
    "seasonal_naive": _robust(seasonal_naive_quantiles),
    "drift": _robust(drift_quantiles),
    "seasonal_naive_drift": _robust(seasonal_naive_drift_quantiles),
    "markov_chain": _robust(markov_chain),
    "markov_switching": _robust(markov_switching),
}
"""Each with the context, the prediction length and the season; `markov_switching` fits series by
series and needs statsmodels."""
