"""Training noise: simulated changes of regime.

Holidays, outages and closures are rare in any one history, and a network that has hardly seen one
goes on copying the weeks before. So in some windows everything after a random instant, the target
included, moves away from the smallest value of the context by a random factor.
"""

import math

import torch
from torch import Tensor

CHANGED_SHARE, FEW_SERIES = 0.2, 20
"""Share of windows in which the series changes, up to that many series. More series show each other
such changes, and are better left as they are: made-up changes in .3 of all windows raised the error
of 414 hourly series by 5 %. Without any, that of 3 and of 7 series on validation windows was 2 %
higher (one seed each)."""
SMALLEST_FACTOR, LARGEST_FACTOR = 0.15, 1.5
LONGEST_SEASONS = 5
"""A change is at most this many seasons old at the cutoff, and half of the context."""


def changed_share(series: int) -> float:
    """Return the share of windows to change when there are so many series."""
    return CHANGED_SHARE * min(1.0, FEW_SERIES / series)


def change_regimes(
    context: Tensor,
    target: Tensor,
    *,
    share: float,
    newest: int,
    season: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return `context` (B, L) and `target` (B, H) with a change of size in a `share` of windows.

    x becomes low + factor (x - low), low the smallest value of the context, from an instant on
    that is between `newest` steps and LONGEST_SEASONS times `season` steps before the cutoff;
    factors are log-uniform.
    """
    batch, length = context.shape
    device = context.device
    chance, age, size = torch.rand(3, batch, 1, device=device, generator=generator)
    oldest = max(newest, min(length // 2, LONGEST_SEASONS * season))
    changed = chance < share
    start = length - newest - (age * (oldest - newest)).floor()
    spread = math.log(LARGEST_FACTOR / SMALLEST_FACTOR)
    factor = SMALLEST_FACTOR * torch.exp(size * spread)
    low = torch.where(context.isnan(), torch.inf, context).amin(1, keepdim=True)
    after = torch.arange(length, device=device) >= start
    return (
        torch.where(changed & after, low + factor * (context - low), context),
        torch.where(changed, low + factor * (target - low), target),
    )
