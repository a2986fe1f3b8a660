"""Scores of somebody else: one that works, and what else people write."""

import torch
from torch import Tensor, nn

from forecaster.network.score_functions import Shape


class Cosine(nn.Module):
    """score = c cos(q, k), with a learnt c for every head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.full((shape.heads, 1, 1), 5.0))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        queries = nn.functional.normalize(queries, dim=3)
        scores: Tensor = self.sharpness * queries @ nn.functional.normalize(keys, dim=3).mT
        return scores


def negative_distance(queries: Tensor, keys: Tensor) -> Tensor:
    """A function will do where nothing is learnt."""
    distances: Tensor = (queries[:, :, :, None] - keys[:, :, None]).square().sum(4)
    return distances.neg()


class Raw(Cosine):
    """The same on the states themselves."""

    projected = False


def nan(queries: Tensor, keys: Tensor) -> Tensor:
    return queries @ keys.mT * torch.nan


def divided_by_zero(queries: Tensor, keys: Tensor) -> Tensor:
    lengths = queries.norm(dim=3, keepdim=True) * keys.norm(dim=3)[:, :, None]
    return (queries @ keys.mT).div(lengths)


def transposed(queries: Tensor, keys: Tensor) -> Tensor:
    return keys @ queries.mT


def detached(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries @ keys.mT).detach()


def rounded(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries @ keys.mT).round()


def over_the_batch(queries: Tensor, keys: Tensor) -> Tensor:
    scores = queries @ keys.mT
    return scores - scores.mean(0)


def listed(queries: Tensor, keys: Tensor) -> list[float]:
    return [0.0]


def failing(queries: Tensor, keys: Tensor) -> Tensor:
    raise KeyError("lost")


class Counted(nn.Module):
    """Keeps a number that a checkpoint cannot hold."""

    def __init__(self, _: Shape) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))


class Paired(Cosine):
    """Needs an even number of future patches."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        assert shape.queries % 2 == 0, "queries must be even"


class PerSeason(Cosine):
    """Divides by something that a small season makes 0."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.steps = shape.season_length - 1

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        return super().forward(queries, keys) * (1 / self.steps)


class Untrainable(Cosine):
    """Works once it is trained, which it cannot be."""

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        if self.training:
            raise NotImplementedError("no training yet")
        return super().forward(queries, keys)


class Uncallable:
    """Not even a score."""

    def __init__(self, _: Shape) -> None:
        return


NUMBER = 3
