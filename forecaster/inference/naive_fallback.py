"""Naive forecasts in place of a model that they beat: their points, the model's own spread.

Components still add up: what naive repeats is `last_value`, what a season repeats is `copied`, and
drift is `residual`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from forecaster.baselines.naive import naive, seasonal_naive, seasonal_naive_drift
from forecaster.network.network import NetworkOutput
from forecaster.network.output_heads import MEDIAN
from forecaster.network.spec import ModelSpec


def _season(context: Tensor, spec: ModelSpec) -> Tensor:
    return seasonal_naive(context, spec.prediction_length, spec.season_length)


FALLBACKS: Mapping[str, Callable[[Tensor, ModelSpec], Tensor]] = {
    "naive": lambda context, spec: naive(context, spec.prediction_length),
    "seasonal_naive": _season,
    "long_seasonal_naive": lambda context, spec: seasonal_naive(
        context, spec.prediction_length, spec.long_season
    ),
    "seasonal_naive_drift": lambda context, spec: seasonal_naive_drift(
        context, spec.prediction_length, spec.season_length
    ),
}
"""Contexts (B, L) to points (B, H), the simplest first: of equals the first serves."""


def served(
    output: NetworkOutput, context: Tensor, fallback: str | None, spec: ModelSpec
) -> NetworkOutput:
    """Return the final forecast: `output`, or a fallback's points with its quantile offsets.

    The parts still add up: what naive repeats is the `last_value`, what a season repeats is
    `copied`, and drift is the `residual`. The weights are those of the network and explain nothing.
    """
    if fallback is None:
        return output
    level, nothing = output.level[:, None], torch.zeros_like(output.residual)
    points = FALLBACKS[fallback](context, spec)
    repeated = _season(context, spec) if fallback == "seasonal_naive_drift" else points
    is_last = fallback == "naive"
    copied = nothing if is_last else repeated - level
    last_value = repeated - level if is_last else nothing
    residual = points - repeated
    offsets = output.deviations - output.deviations[..., MEDIAN, None]
    return replace(
        output,
        copied=copied,
        last_value=last_value,
        residual=residual,
        deviations=(copied + last_value + residual)[..., None] + offsets,
    )
