"""Calendar features: the time of day and the weekday on which a patch begins, on local clocks."""

import math

import polars as pl
import torch
from torch import Tensor, nn

from forecaster.network.spec import ModelSpec

FEATURES = 9
"""Sine and cosine of the time of day, and one number for each weekday: 1 for the one it is.

No time of the year: two years of bike rentals forecast the next months better without it."""
_DAY = 86_400e9  # nanoseconds, as a pl.Time counts


def calendar_features(spec: ModelSpec, cutoffs: Tensor) -> Tensor | None:
    """Return (B, Lp + Hp, FEATURES) of windows that end at the grid indices `cutoffs` (B,).

    Of the first step of each past and each future patch, in the time zone of the grid; on the
    device of `cutoffs`. None for a model that looks at no calendar.
    """
    if not spec.calendar:
        return None
    patches = torch.arange(-spec.past_patches, spec.future_patches, device=cutoffs.device)
    starts, inverse = (cutoffs[:, None] + 1 + patches * spec.patch_length).unique(
        return_inverse=True
    )
    return _phases(spec, starts.cpu()).to(cutoffs.device)[inverse]


def _phases(spec: ModelSpec, indices: Tensor) -> Tensor:
    grid = spec.grid()
    instants = grid.timestamps_of(pl.Series(indices.numpy(), dtype=pl.Int64))
    clock = instants.dt.convert_time_zone(grid.timezone).dt
    nanoseconds = clock.time().cast(pl.Int64).to_numpy()
    angle = torch.tensor(nanoseconds)[:, None] * (2 * math.pi / _DAY)
    weekday = torch.tensor(clock.weekday().to_numpy())[:, None] == torch.arange(1, 8)
    return torch.cat((angle.sin(), angle.cos(), weekday), 1).float()


class CalendarEmbedding(nn.Module):
    """What the calendar adds to `size` numbers of each patch: nothing before training."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.of_features = nn.Parameter(torch.zeros(FEATURES, size))

    def forward(self, features: Tensor) -> Tensor:
        """Embed features (B, n, FEATURES) as (B, n, size)."""
        return features @ self.of_features
