"""Temporal attention: which past patches a future patch is made of.

    weights = normaliser((score(queries, keys) + lag bias) / temperature + log-priors)

Shapes: B windows, K heads, Hp future patches, Lp past patches, S = Lp + 2 sources (the past
patches from oldest to newest, then the last value, then the level), k the size of a key.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from forecaster.errors import IncompatibleCheckpoint
from forecaster.network.calendar_features import CalendarEmbedding
from forecaster.network.masks import Places, causal, lags, missing, seasonal_prior, window
from forecaster.network.normalizers import NORMALISERS
from forecaster.network.score_functions import SCORES, Shape
from forecaster.network.spec import ModelSpec

Part = TypeVar("Part")

Plugins = Mapping[str, Any]
"""Scores and priors of the user's own, loaded and checked, by the name that config gives them."""

NO_PLUGINS: Plugins = {}

SENTINELS = 2
"""Sources that are not past patches: the last value and the level."""

LAST_VALUE_PRIOR = 3.0
"""What the bias of the last value starts from where there is no season."""


def lookup(registry: Mapping[str, Part], kind: str, name: str) -> Part:
    """Return the part called `name`, or raise IncompatibleCheckpoint naming what exists."""
    if name not in registry:
        raise IncompatibleCheckpoint(
            f"{kind} must be one of {sorted(registry)}, found {name!r}",
            hint=f"set model.{kind} to one of them and run `forecaster retrain`",
        )
    return registry[name]


def built(part: Any, shape: Shape) -> Any:
    """Return what scores or gives priors: an instance of a class, or a function as it is."""
    return part(shape) if isinstance(part, type) else part


def temporal(spec: ModelSpec, plugins: Plugins) -> Shape:
    """Return the sizes of temporal attention; a score that is not projected gets the states."""
    return Shape(
        heads=spec.heads,
        key_size=spec.key_size if _is_projected(spec, plugins) else spec.hidden_size,
        inner_size=spec.key_size,
        queries=spec.future_patches,
        past=spec.past_patches,
        sentinels=SENTINELS,
        patch_length=spec.patch_length,
        season_length=spec.season_length,
    )


def among_states(spec: ModelSpec, plugins: Plugins) -> Shape:
    """Return the sizes of self-attention: every past patch is a query, without sentinels."""
    return replace(temporal(spec, plugins), queries=spec.past_patches, sentinels=0)


def _score(spec: ModelSpec, plugins: Plugins) -> Any:
    return lookup({**plugins, **SCORES}, "score", spec.score)


def _is_projected(spec: ModelSpec, plugins: Plugins) -> bool:
    return bool(getattr(_score(spec, plugins), "projected", True))


class _Attention(nn.Module):
    """Queries and keys of every head, and the score and the normaliser between them."""

    def __init__(self, spec: ModelSpec, plugins: Plugins, shape: Shape) -> None:
        super().__init__()
        self.shape, self.temperature = shape, spec.temperature
        self.heads, self.width = shape.heads, shape.heads * shape.key_size
        projected = _is_projected(spec, plugins)
        self.score = built(_score(spec, plugins), shape)
        self.normalise = lookup(NORMALISERS, "normaliser", spec.normaliser)
        self.query = self._projection(spec, projected)
        self.key = self._projection(spec, projected)

    def _projection(self, spec: ModelSpec, projected: bool) -> nn.Module:
        return nn.Linear(spec.hidden_size, self.width) if projected else _Shared(self.heads)

    def _split(self, states: Tensor) -> Tensor:
        split: Tensor = states.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return split  # (B, K, ., k)


class TemporalAttention(_Attention):
    """One query per head and future patch scores every past patch and the two sentinels."""

    lags: Tensor
    window: Tensor

    def __init__(self, spec: ModelSpec, plugins: Plugins = NO_PLUGINS) -> None:
        super().__init__(spec, plugins, temporal(spec, plugins))
        self.future = spec.future_patches
        self.patch_queries = nn.Parameter(torch.randn(self.future, self.width).mul_(0.02))
        self.sentinel_keys = nn.Parameter(torch.randn(SENTINELS, self.width).mul_(0.02))
        self.lag_bias = nn.Parameter(seasonal_prior(spec).repeat(spec.heads, 1))
        last_value = LAST_VALUE_PRIOR if spec.season_length <= 1 else 0.0
        self.sentinel_bias = nn.Parameter(torch.tensor([last_value, 0.0]).repeat(spec.heads, 1))
        self.dates = CalendarEmbedding(self.width) if spec.calendar else None
        self.priors = nn.ModuleList(_Prior(plugins, name, self.shape) for name in spec.priors)
        self.register_buffer("lags", lags(self.future, spec.past_patches), persistent=False)
        self.register_buffer(
            "window", window(spec.past_patches, spec.attention_window), persistent=False
        )

    def forward(self, states: Tensor, observed: Tensor, dates: Tensor | None = None) -> Tensor:
        """Return the weights (B, K, Hp, S) of encoder states (B, Lp, hidden size).

        `observed` (B, Lp) is the observed share of each patch. `dates` (B, Hp, FEATURES) are
        needed by a model with a calendar.
        """
        queries = self.patch_queries + self.query(states[:, -1:])
        queries = self._split(queries if self.dates is None else queries + self.dates(dates))
        sentinels = self.sentinel_keys.expand(len(states), -1, -1)
        keys = torch.cat((self._split(self.key(states)), self._split(sentinels)), 2)
        logits = (self.score(queries, keys) + self._bias()) / self.temperature
        prior = nn.functional.pad(self._log_prior(observed), (0, SENTINELS))
        weights: Tensor = self.normalise(logits + prior)
        return weights

    def _log_prior(self, observed: Tensor) -> Tensor:
        prior = missing(observed) + self.window
        places = Places(shape=self.shape, lags=self.lags, observed=observed)
        for part in self.priors:
            prior = prior + part(places)
        return prior

    def _bias(self) -> Tensor:
        sentinels = self.sentinel_bias[:, None].expand(-1, self.future, -1)
        return torch.cat((self.lag_bias[:, self.lags], sentinels), 2)  # (K, Hp, S)


class SelfAttention(_Attention):
    """states + O concat_h(weights_h V_h states), patch to patch (Vaswani et al. 2017, eq. 1).

    No patch sees a newer one. O starts at 0: before training, the states are left as they are.
    """

    causal: Tensor

    def __init__(self, spec: ModelSpec, plugins: Plugins = NO_PLUGINS) -> None:
        super().__init__(spec, plugins, among_states(spec, plugins))
        self.value = nn.Linear(spec.hidden_size, spec.heads * spec.key_size)
        self.mix = nn.Linear(spec.heads * spec.key_size, spec.hidden_size, bias=False)
        nn.init.zeros_(self.mix.weight)
        self.register_buffer("causal", causal(spec.past_patches), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Return states (B, Lp, hidden size) that have seen one another."""
        queries, keys = self._split(self.query(states)), self._split(self.key(states))
        logits = self.score(queries, keys) / self.temperature + self.causal
        mixed = self.normalise(logits) @ self._split(self.value(states))
        residual: Tensor = self.mix(mixed.transpose(1, 2).flatten(2))
        return states + residual


class _Shared(nn.Module):
    """No projection: every head gets the states (B, ., n) as they are, (B, ., K n)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, states: Tensor) -> Tensor:
        return states.repeat(1, 1, self.heads)


class _Prior(nn.Module):
    """A prior of the user's own, with its parameters if it has any."""

    def __init__(self, plugins: Plugins, name: str, shape: Shape) -> None:
        super().__init__()
        self.prior = built(lookup(plugins, "priors", name), shape)

    def forward(self, places: Places) -> Tensor:
        prior: Tensor = self.prior(places)
        return prior
