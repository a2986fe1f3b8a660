"""Quantiles that never cross: a median, and positive steps away from it on both sides."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from forecaster.frames import QUANTILE_LEVELS

MEDIAN = QUANTILE_LEVELS.index(0.5)


class QuantileHead(nn.Module):
    """offset_q = +- the cumulative sum of softplus steps, 0 at the median."""

    def __init__(self, width: int, patch_length: int) -> None:
        super().__init__()
        self.steps = nn.Linear(width, patch_length * (len(QUANTILE_LEVELS) - 1))
        self.patch_length = patch_length

    def forward(self, features: Tensor) -> Tensor:
        """Turn features (B, Hp, width) into offsets (B, Hp, P, Q), ascending along Q."""
        steps = functional.softplus(self.steps(features) - 2.0)
        below, above = steps.unflatten(2, (self.patch_length, -1)).split(
            (MEDIAN, len(QUANTILE_LEVELS) - 1 - MEDIAN), dim=3
        )
        median = torch.zeros_like(above[..., :1])
        return torch.cat((-below.cumsum(3).flip(3), median, above.cumsum(3)), 3)


HEADS: Mapping[str, Callable[[int, int], nn.Module]] = {"quantile": QuantileHead}
"""Built with the feature width and the patch length; called as `QuantileHead.forward`."""
