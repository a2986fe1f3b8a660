"""Priors of somebody else."""

import torch
from torch import Tensor, nn

from forecaster.network.masks import Places
from forecaster.network.score_functions import Shape


def whole_weeks(places: Places) -> Tensor:
    """Only patches that lie whole seasons before."""
    steps = places.lags * places.shape.patch_length
    return torch.where(steps % places.shape.season_length == 0, 0.0, -torch.inf)


class Decay(nn.Module):
    """A learnt preference of every head for the recent past."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.full((shape.heads, 1, 1), 0.1))

    def forward(self, places: Places) -> Tensor:
        prior: Tensor = -self.rate * places.lags
        return prior


def relative(places: Places) -> Tensor:
    """NaN where nothing was observed."""
    shares: Tensor = places.observed / places.observed.sum(1, keepdim=True)
    return shares[:, None, None]


def unlimited(places: Places) -> Tensor:
    return torch.where(places.lags == 1, torch.inf, 0.0)


def boolean(places: Places) -> Tensor:
    return places.lags > 2


def with_sentinels(places: Places) -> Tensor:
    return nn.functional.pad(places.lags.float(), (0, 2))


def second_half(places: Places) -> Tensor:
    """Fits a context of six patches."""
    return torch.tensor([0.0, 0.0, 0.0, -1.0, -1.0, -1.0])
