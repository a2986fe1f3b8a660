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
    return _forbidden(torch.arange(length, 0, -1) > newest)


def causal(length: int) -> Tensor:
    """Return (Lp, Lp): no patch may attend one that is newer than itself."""
    return _forbidden(torch.ones(length, length, dtype=torch.bool).triu(1))


def _forbidden(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(mask, -torch.inf)


def lags(future: int, past: int) -> Tensor:
    """Return (Hp, Lp): how many patches each past patch lies before each future patch."""
    return torch.arange(1, future + 1)[:, None] + torch.arange(past - 1, -1, -1)


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
        whole += bonus / (1 + 0.3 * torch.arange(len(whole)))
    return prior
