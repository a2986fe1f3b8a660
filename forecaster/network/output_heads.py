"""Heads: quantiles that never cross, as offsets from a median that is placed elsewhere.

All are trained by the same pinball loss, so a distribution is only a shape for the quantiles, not
a likelihood.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from forecaster.baselines.distributions import (
    FEWEST_DEGREES,
    mixture_quantiles,
    student_t_quantiles,
)
from forecaster.schemas import QUANTILE_LEVELS

MEDIAN = QUANTILE_LEVELS.index(0.5)

COMPONENTS = 3
SMALLEST_SCALE, LARGEST_OFFSET = 1e-4, 1e6
"""Bounds of a mixture's parameters, in units of the window's spread: far off, but finite."""


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


class StudentTHead(nn.Module):
    """offset_q = scale · t_q(degrees): heavy tails, symmetric about the median.

    The scale and the degrees of freedom above 2 are softplus.
    """

    def __init__(self, width: int, patch_length: int) -> None:
        super().__init__()
        self.shape = nn.Linear(width, patch_length * 2)
        self.patch_length = patch_length

    def forward(self, features: Tensor) -> Tensor:
        """Turn features (B, Hp, width) into offsets (B, Hp, P, Q), ascending along Q."""
        scale, degrees = self.shape(features).unflatten(2, (self.patch_length, 2)).unbind(3)
        degrees = FEWEST_DEGREES + functional.softplus(degrees + 3.0)
        above = functional.softplus(scale - 1.0)[..., None] * student_t_quantiles(
            degrees, QUANTILE_LEVELS[MEDIAN + 1 :]
        )
        return torch.cat((-above.flip(3), torch.zeros_like(above[..., :1]), above), 3)


class GaussianMixtureHead(nn.Module):
    """offset_q = the quantiles of a mixture of normals minus its median: skewed or bimodal.

    Softmax weights, softplus scales; where the mixture lies as a whole is lost on purpose
    (Bishop 1994, Mixture Density Networks, for the parameters).
    """

    apart: Tensor

    def __init__(self, width: int, patch_length: int) -> None:
        super().__init__()
        self.shape = nn.Linear(width, patch_length * 3 * COMPONENTS)
        self.patch_length = patch_length
        self.register_buffer("apart", torch.linspace(-0.5, 0.5, COMPONENTS), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Turn features (B, Hp, width) into offsets (B, Hp, P, Q), ascending along Q."""
        shape = self.shape(features).unflatten(2, (self.patch_length, 3, COMPONENTS))
        logits, means, scales = shape.unbind(3)
        quantiles = mixture_quantiles(
            logits.softmax(-1),
            (means + self.apart).clamp(-LARGEST_OFFSET, LARGEST_OFFSET),
            functional.softplus(scales - 1.0).clamp(SMALLEST_SCALE, LARGEST_OFFSET),
            QUANTILE_LEVELS,
        )
        return quantiles - quantiles[..., MEDIAN, None]


HEADS: Mapping[str, Callable[[int, int], nn.Module]] = {
    "quantile": QuantileHead,
    "student_t": StudentTHead,
    "gaussian_mixture": GaussianMixtureHead,
}
"""Built with the feature width and the patch length; called as `QuantileHead.forward`."""


def pinball(deviations: Tensor, target: Tensor) -> Tensor:
    """Return max(q e, (q - 1) e) with e = target - quantile: (B, H, Q) and (B, H) to (B, H, Q)."""
    levels = torch.tensor(QUANTILE_LEVELS, device=deviations.device)
    error = target[..., None] - deviations
    return torch.maximum(levels * error, (levels - 1) * error)
