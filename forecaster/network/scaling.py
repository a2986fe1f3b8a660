"""A window in its own units, which makes the network invariant to shift and scale."""

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_SPREAD = 0.1
"""In units of the series' seasonal error: the noise of a still window must not be amplified."""

LARGEST_DEVIATION = 1e15
"""Values beyond this many seasonal errors count as missing: their squares must fit float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledWindow:
    """A window of B contexts, minus their centre, over their spread; Lp patches of P points."""

    patches: Tensor
    """(B, Lp, P), 0 where missing."""
    observed: Tensor
    """(B, Lp, P), 1 where observed, else 0."""
    centre: Tensor
    """(B,) mean of the observed values, in the units of the input."""
    spread: Tensor
    """(B,) their standard deviation, at least SMALLEST_SPREAD, in the units of the input."""
    level: Tensor
    """(B,) mean over the season that ends at the last observed value."""
    last: Tensor
    """(B,) last observed value."""
    patch_levels: Tensor
    """(B, Lp) mean over the season that ends with each past patch; over the first full season
    where less than one season lies before."""


def scale_window(context: Tensor, patch_length: int, season_patches: int) -> ScaledWindow:
    """Scale `context` (B, L), NaN where missing; a window without values is all zeros."""
    mask = context.abs() <= LARGEST_DEVIATION
    observed = mask.to(context.dtype)
    values = torch.where(mask, context, 0.0)
    count = observed.sum(1).clamp(min=1.0)
    centre = values.sum(1) / count
    centred = (values - centre[:, None]) * observed
    spread = (centred.square().sum(1) / count).sqrt().clamp(min=SMALLEST_SPREAD)
    scaled = centred / spread[:, None]
    level, last = _latest(scaled, mask, patch_length * season_patches)
    patches = scaled.unflatten(1, (-1, patch_length))
    present = observed.unflatten(1, (-1, patch_length))
    return ScaledWindow(
        patches=patches,
        observed=present,
        centre=centre,
        spread=spread,
        level=level,
        last=last,
        patch_levels=patch_levels(patches, present, level, season_patches),
    )


def _latest(scaled: Tensor, mask: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """Return the mean over the last season before the last observed value, and that value."""
    position = torch.arange(scaled.shape[1], device=scaled.device)
    end = torch.where(mask, position, 0).amax(1, keepdim=True)  # (B, 1)
    recent = mask & (position > end - season)
    level = (scaled * recent).sum(1) / recent.sum(1).clamp(min=1)
    return level, scaled.gather(1, end).squeeze(1)


def patch_levels(patches: Tensor, observed: Tensor, level: Tensor, season_patches: int) -> Tensor:
    """Return (B, Lp): the mean over the `season_patches` patches that end with each patch.

    The first patches share the first full season; a season without values takes `level` (B,).
    """
    sums = torch.stack(((patches * observed).sum(2), observed.sum(2)))  # (2, B, Lp)
    seasons = sums.unfold(2, season_patches, 1).sum(3)
    patch = torch.arange(patches.shape[1], device=patches.device)
    totals, counts = seasons[..., (patch - season_patches + 1).clamp(min=0)]
    return torch.where(counts > 0, totals / counts.clamp(min=1.0), level[:, None])
