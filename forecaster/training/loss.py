"""Pinball loss, half in units of each series' seasonal error and half relative to its size."""

import torch
from torch import Tensor

from forecaster.data.panel import Panel
from forecaster.network.network import NetworkOutput
from forecaster.network.output_heads import pinball

LARGEST_WEIGHT = 10.0
"""A window that moves much more than its seasonal error would outweigh all others."""


def series_weights(panel: Panel) -> Tensor:
    """Return (N,), on the CPU, a_i = 0.5 + 0.5 rel_i / mean(rel), rel_i = scale_i / mean |y_i|.

    Relative error needs a ratio scale: a series whose values change sign has a_i = 1.
    """
    deviations = panel.deviations.cpu()
    observed = deviations.isfinite()
    values = panel.offset[:, None] + panel.scale[:, None] * deviations
    values = torch.where(observed, values, 0.0)
    size = (values.abs() / observed.sum(1, keepdim=True).clamp(min=1)).sum(1)
    one_signed = ((values >= 0).all(1) | (values <= 0).all(1)) & (size > 0)
    if not one_signed.any():
        return torch.ones(len(panel))
    relative = panel.scale[one_signed] / size[one_signed]
    weights = torch.ones(len(panel), dtype=torch.float64)
    weights[one_signed] = 0.5 + 0.5 * relative / relative.mean()
    return weights.float()


def weighted_pinball(output: NetworkOutput, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean loss over the observed points of `target` (B, H) in seasonal errors.

    `weights` (B,) are the series weights; a window weighs at most LARGEST_WEIGHT times as much as
    it would in units of its own spread.
    """
    observed = target.isfinite()
    relative = torch.where(observed, target, 0.0) - output.level[:, None]
    loss = pinball(output.deviations, relative).mean(2) * observed
    weight = torch.minimum(LARGEST_WEIGHT / output.spread, weights)
    return (loss.sum(1) * weight).sum() / observed.sum().clamp(min=1)
