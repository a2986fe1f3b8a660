"""Masks and log-priors over the past patches: numbers added to logits, -inf where forbidden.

They compose by addition. Those in front of a softmax multiply its weights by exp(prior). Shapes
broadcast to (B, K, Hp, Lp): B windows, K heads, Hp future patches, Lp past patches from oldest to
newest. The sentinels have none, so that something may always be attended.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from forecaster.network.score_functions import Shape
from forecaster.network.spec import ModelSpec

SEASON_PRIOR, LONG_SEASON_PRIOR = 2.0, 1.5
"""Log-priors the lag bias starts from, so that a season is representable before training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What a prior may look at; it is below +inf and broadcasts to (B, K, Hp, Lp)."""

    shape: Shape
    lags: Tensor
    """(Hp, Lp) how many patches each past patch lies before each future patch: 1 is the next."""
    observed: Tensor
    """(B, Lp) observed share of each past patch, from 0 to 1."""


def missing(observed: Tensor) -> Tensor:
    """Return the logarithm of the observed shares (B, Lp), as (B, 1, 1, Lp).

    A patch counts for the points it has, and for nothing when it is wholly missing.
    """
    return observed.log()[:, None, None]


def window(length: int, newest: int) -> Tensor:
    """Return (Lp,) for `length` patches: only the `newest` ones may be attended."""
    return torch.zeros(length).index_fill_(0, torch.arange(max(length - newest, 0)), -torch.inf)


def causal(length: int) -> Tensor:
    """Return (Lp, Lp): no patch may attend one that is newer than itself."""
    return torch.full((length, length), -torch.inf).triu_(1)


def lags(future: int, past: int) -> Tensor:
    """Return (Hp, Lp): how many patches each past patch lies before each future patch."""
    before_next = torch.arange(past, 0, -1).repeat(future, 1)
    return before_next.add_(torch.arange(future)[:, None])


def seasonal_prior(spec: ModelSpec) -> Tensor:
    """Return the log-prior (Lp + Hp,) of copying from n patches before, n the index."""
    prior = torch.zeros(spec.past_patches + spec.future_patches)
    for season, bonus in (
        (spec.season_length, SEASON_PRIOR),
        (spec.long_season, LONG_SEASON_PRIOR),
    ):
        if season <= 1 or season % spec.patch_length:
            continue
        whole = prior[season // spec.patch_length :: season // spec.patch_length]
        distances = torch.arange(len(whole)).float().mul_(0.3).add_(1)
        whole += torch.full_like(distances, bonus).div_(distances)
    return prior
