"""Training noise: what a late or broken series looks like, and why attention can be trusted.

Without hidden patches a missing one is out of distribution, and removing a random patch hurts as
much as removing the attended one; without gaps a series that is half a day late is forecast badly.
"""

import torch
from torch import Tensor

GAP_SHARE = 0.25
"""Share of windows whose latest values are missing, and of windows with a hole somewhere."""
HOLE_SHARE = 0.1
HIDDEN_SHARE = 0.5
"""Share of windows in which values are hidden from the encoder."""
HIDDEN_VALUES, HIDDEN_PATCHES = 0.1, 0.05


def cut_gaps(
    context: Tensor, max_lag: int, patch_length: int, generator: torch.Generator
) -> Tensor:
    """Return `context` (B, L) with the last 0 … max_lag values of some windows missing, and one
    hole of up to two patches in others."""
    batch, length = context.shape
    device = context.device
    position = torch.arange(length, device=device)
    chance, where, size = torch.rand(3, batch, 1, device=device, generator=generator)
    trailing = (chance < GAP_SHARE) & (position >= length - (size * (max_lag + 1)).floor())
    start = (where * length).floor()
    inside = (position >= start) & (position < start + size * 2 * patch_length)
    hole = (chance > 1 - HOLE_SHARE) & inside
    return context.masked_fill(trailing | hole, torch.nan)


def hide_values(context: Tensor, patch_length: int, generator: torch.Generator) -> Tensor:
    """Return (B, L), True where the encoder may not see a value that can still be copied."""
    batch, length = context.shape

    def drawn(share: float, *shape: int) -> Tensor:
        return torch.rand(shape, device=context.device, generator=generator) < share

    patches = drawn(HIDDEN_PATCHES, batch, length // patch_length)
    values = drawn(HIDDEN_VALUES, batch, length)
    hidden = values | patches.repeat_interleave(patch_length, 1)
    return hidden & drawn(HIDDEN_SHARE, batch, 1)
