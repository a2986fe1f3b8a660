"""Normalisers: logits into weights >= 0 that sum to 1, exactly 0 where a logit is -inf.

All of them work along the last axis, where at least one logit is finite, and are differentiable:
the support and the order of the sources are looked up, everything else is plain arithmetic.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def softmax(logits: Tensor) -> Tensor:
    """exp(z_i) / sum_j exp(z_j): all that may be attended gets a weight."""
    return torch.softmax(logits, dim=-1)


def sparsemax(logits: Tensor) -> Tensor:
    """max(0, z_i - t), with t such that they sum to 1 (Martins & Astudillo 2016, algorithm 1)."""
    shifted, ordered, rank = _sorted(logits)
    sums = ordered.cumsum(-1)
    support = (1 + rank * ordered > sums).sum(-1, keepdim=True)
    threshold = (sums.gather(-1, support - 1) - 1) / support
    return (shifted - threshold).clamp(min=0.0)


def entmax15(logits: Tensor) -> Tensor:
    """max(0, z_i / 2 - t)^2, with t such that they sum to 1 (Peters et al. 2019, algorithm 2)."""
    shifted, ordered, rank = _sorted(logits / 2)
    mean, square = ordered.cumsum(-1) / rank, ordered.square().cumsum(-1) / rank
    room = 1 / rank - (square - mean.square())
    thresholds = (mean - room.clamp(min=0.0).sqrt()).detach()
    last = (thresholds <= ordered).sum(-1, keepdim=True) - 1
    threshold = mean.gather(-1, last) - room.gather(-1, last).sqrt()
    weights = (shifted - threshold).clamp(min=0.0).square()
    return weights / weights.sum(-1, keepdim=True)


def _sorted(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits below their maximum, the same in falling order, and the ranks 1 ... S.

    What lies 1 below the maximum gets no weight: cutting at 2 keeps -inf out of the arithmetic.
    """
    shifted = (logits - logits.amax(-1, keepdim=True).detach()).clamp(min=-2.0)
    rank = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
    return shifted, shifted.sort(-1, descending=True).values, rank


Normaliser = Callable[[Tensor], Tensor]

NORMALISERS: Mapping[str, Normaliser] = {
    "softmax": softmax,
    "sparsemax": sparsemax,
    "entmax15": entmax15,
}
