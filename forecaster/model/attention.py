"""Temporal attention: which past patches a future patch is made of.

Shapes: B windows, K heads, Hp future patches, Lp past patches, S = Lp + 2 sources (the past
patches from oldest to newest, then the last value, then the level), k the key size.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from forecaster.errors import IncompatibleCheckpoint
from forecaster.model.spec import ModelSpec

Part = TypeVar("Part")

SENTINELS = 2
"""Sources that are not past patches: the last value and the level."""

SEASON_PRIOR, LONG_SEASON_PRIOR, LAST_VALUE_PRIOR = 2.0, 1.5, 3.0
"""Log-priors the lag bias starts from, so that a season is representable before training."""


class ScaledDot(nn.Module):
    """score = q . k / sqrt(k) (Vaswani et al. 2017, equation 1)."""

    def __init__(self, key_size: int) -> None:
        super().__init__()
        self.temperature = key_size**-0.5

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Score queries (B, K, Hp, k) against keys (B, K, S, k): (B, K, Hp, S)."""
        scores: Tensor = queries @ keys.transpose(2, 3) * self.temperature
        return scores


def softmax(logits: Tensor) -> Tensor:
    """exp(logit) over its sum along the last axis; -inf becomes exactly 0."""
    return torch.softmax(logits, dim=-1)


SCORES: Mapping[str, Callable[[int], nn.Module]] = {"scaled_dot": ScaledDot}
"""Built with the key size; called with queries and keys as `ScaledDot.forward`."""

NORMALISERS: Mapping[str, Callable[[Tensor], Tensor]] = {"softmax": softmax}
"""Turn logits into weights >= 0 that sum to 1 over the last axis, exactly 0 where -inf."""


def lookup(registry: Mapping[str, Part], kind: str, name: str) -> Part:
    """Return the part called `name`, or raise IncompatibleCheckpoint naming what exists."""
    if name not in registry:
        raise IncompatibleCheckpoint(
            f"{kind} must be one of {sorted(registry)}, found {name!r}",
            hint=f"set model.{kind} to one of them and run `forecaster retrain`",
        )
    return registry[name]


class TemporalAttention(nn.Module):
    """One query per head and future patch scores every past patch and the two sentinels."""

    lags: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.heads, self.future = spec.heads, spec.future_patches
        width = spec.heads * spec.key_size
        self.score = lookup(SCORES, "score", spec.score)(spec.key_size)
        self.normalise = lookup(NORMALISERS, "normaliser", spec.normaliser)
        self.query = nn.Linear(spec.hidden_size, width)
        self.key = nn.Linear(spec.hidden_size, width)
        self.patch_queries = nn.Parameter(torch.randn(self.future, width) * 0.02)
        self.sentinel_keys = nn.Parameter(torch.randn(SENTINELS, width) * 0.02)
        self.lag_bias = nn.Parameter(seasonal_prior(spec).repeat(spec.heads, 1))
        self.sentinel_bias = nn.Parameter(_sentinel_prior(spec).repeat(spec.heads, 1))
        self.register_buffer("lags", _lags(spec), persistent=False)

    def forward(self, states: Tensor, observed: Tensor) -> Tensor:
        """Return the weights (B, K, Hp, S) of encoder states (B, Lp, hidden size).

        `observed` (B, Lp) is the observed share of each patch: its logarithm is a log-prior, so
        that a patch counts for the points it has, and for nothing when it is wholly missing.
        """
        queries = self._split(self.patch_queries + self.query(states[:, -1:]))
        keys = torch.cat((self.key(states), self.sentinel_keys.expand(len(states), -1, -1)), 1)
        logits = self.score(queries, self._split(keys)) + self._bias()
        present = torch.cat((observed, observed.new_ones(len(observed), SENTINELS)), 1)
        weights: Tensor = self.normalise(logits + present.log()[:, None, None])
        return weights

    def _split(self, states: Tensor) -> Tensor:
        split: Tensor = states.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return split  # (B, K, ., k)

    def _bias(self) -> Tensor:
        sentinels = self.sentinel_bias[:, None].expand(-1, self.future, -1)
        return torch.cat((self.lag_bias[:, self.lags], sentinels), 2)  # (K, Hp, S)


def seasonal_prior(spec: ModelSpec) -> Tensor:
    """Return the log-prior (Lp + Hp,) of copying from n patches before, n the index."""
    prior = torch.zeros(spec.past_patches + spec.future_patches)
    for season, bonus in (
        (spec.season_length, SEASON_PRIOR),
        (spec.long_season, LONG_SEASON_PRIOR),
    ):
        if season <= 1 or season % spec.patch_length:
            continue
        lags = prior[season // spec.patch_length :: season // spec.patch_length]
        lags += bonus / (1 + 0.3 * torch.arange(len(lags)))
    return prior


def _sentinel_prior(spec: ModelSpec) -> Tensor:
    return torch.tensor([LAST_VALUE_PRIOR if spec.season_length <= 1 else 0.0, 0.0])


def _lags(spec: ModelSpec) -> Tensor:
    """Return (Hp, Lp): how many patches each past patch lies before each future patch."""
    future = torch.arange(1, spec.future_patches + 1)
    past = torch.arange(spec.past_patches - 1, -1, -1)
    return future[:, None] + past[None, :]
