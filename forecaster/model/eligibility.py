"""Which windows can be forecast from, and why the others cannot."""

import torch
from torch import Tensor

from forecaster.errors import SkipReason
from forecaster.model.spec import ModelSpec

REASONS = tuple(SkipReason)
FORECAST = len(REASONS)
"""The outcome of a window that can be forecast; lower outcomes are positions in REASONS."""


def judge(context: Tensor, spec: ModelSpec) -> Tensor:
    """Return (B,) whether each context (B, L) can be forecast from, or why not."""
    observed = context.isfinite()
    count = observed.sum(1)
    lag = observed.flip(1).to(torch.int8).argmax(1)  # steps since the last observed value
    outcome = torch.full_like(count, FORECAST)
    outcome[count < spec.min_observed] = REASONS.index(SkipReason.TOO_SHORT)
    outcome[lag > spec.max_lag] = REASONS.index(SkipReason.STALE)
    outcome[count == 0] = REASONS.index(SkipReason.NO_DATA)
    return outcome
