"""Naive forecasts: the yardsticks of every score.

All take a context (B, L), NaN where missing, its last column at the cutoff, and return (B, H) in
the same units and dtype; NaN only for rows without any observation.
"""

from typing import Protocol

import torch
from torch import Tensor


class Baseline(Protocol):
    """Forecast `prediction_length` steps from a context (B, L) with gaps; returns (B, H)."""

    def __call__(self, context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
        """Forecast from `context`."""


def naive(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Repeat the last observed value."""
    last, _ = _last_observed(context)
    return last[:, None].expand(-1, prediction_length).clone()


def seasonal_naive(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Repeat the latest observed value of the same phase, else the last observed value."""
    values, _ = _same_phase(context, prediction_length, season_length)
    return values


def seasonal_naive_drift(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Seasonal naive, plus the average seasonal change for the time since the value repeated.

    With season_length 1 and no gaps this is the drift method of Hyndman and Athanasopoulos,
    Forecasting: Principles and Practice, 5.2.
    """
    values, age = _same_phase(context, prediction_length, season_length)
    change = context[:, season_length:] - context[:, :-season_length]
    slope = change.nanmean(dim=1).nan_to_num(nan=0.0) / season_length
    return values + slope[:, None] * age


def _same_phase(
    context: Tensor, prediction_length: int, season_length: int
) -> tuple[Tensor, Tensor]:
    """Return the value each step repeats and how many steps before it that was seen, (B, H)."""
    batch, length = context.shape
    seasons = -(-length // season_length)
    padding = (seasons * season_length - length, 0)
    padded = torch.nn.functional.pad(context, padding, value=torch.nan)
    by_phase = padded.view(batch, seasons, season_length).transpose(1, 2)
    values, seasons_ago = _last_observed(by_phase)
    steps = torch.arange(prediction_length, device=context.device)
    phase, season = steps % season_length, steps // season_length
    values, age = values[:, phase], (seasons_ago[:, phase] + season) * season_length
    last, last_age = _last_observed(context)
    missing = values.isnan()
    return (
        torch.where(missing, last[:, None], values),
        torch.where(missing, last_age[:, None] + steps, age),
    )


def _last_observed(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last value that is not NaN along the last axis, and its age: 1 is the last."""
    length = values.shape[-1]
    positions = torch.arange(length, device=values.device)
    latest = torch.where(values.isnan(), -1, positions).amax(dim=-1, keepdim=True)
    found = values.gather(-1, latest.clamp(min=0))
    return found.squeeze(-1), (length - latest).squeeze(-1)
