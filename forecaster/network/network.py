"""The network: an LSTM over patches whose attention weights multiply raw past values.

    median = level + copied + last_value + residual          (exactly, per step)
    copied = sum_j w_j (x_j - level) + sum_j v_j (level - level_j)

with w the published weights of the past patches j and v their part held by the level-adjusted
heads. B windows of L steps = Lp past patches of P points, Hp future patches cover H steps, K heads,
Q quantile levels. Everything is in the units of the input.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecaster.network.attention import (
    NO_PLUGINS,
    Plugins,
    SelfAttention,
    TemporalAttention,
    lookup,
)
from forecaster.network.calendar_features import CalendarEmbedding
from forecaster.network.output_heads import HEADS
from forecaster.network.patch_embedding import Tokens
from forecaster.network.scaling import ScaledWindow, scale_window
from forecaster.network.spec import ModelSpec

ENCODERS: Mapping[str, Callable[..., nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
}
"""LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014), tanh RNN (Elman 1990)."""

PATCH_EMBEDDING = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOutput:
    """A forecast and what it is made of."""

    level: Tensor
    """(B,) mean of the latest season."""
    copied: Tensor
    """(B, H) attended past values, relative to the level."""
    last_value: Tensor
    """(B, H) attended last value, relative to the level."""
    residual: Tensor
    """(B, H) correction that no past value explains."""
    deviations: Tensor
    """(B, H, Q) quantiles minus the level; the median is copied + last_value + residual."""
    weights: Tensor
    """(B, Hp, Lp + 2) shares of the past patches, the last value and the level; sum to 1."""
    adjusted_weights: Tensor
    """(B, Hp, Lp) the part of the past weights that copies relative to each patch's own level."""
    spread: Tensor
    """(B,) standard deviation of the window."""


class AttentionLSTM(nn.Module):
    """Context (B, L), NaN where missing, to quantile forecasts with exact attention.

    What it is built from is computed in place: `checkpoint.loads` builds it on the meta device
    first, where other arithmetic imports torch's compiler, which takes more than a second.
    """

    adjusted: Tensor

    def __init__(self, spec: ModelSpec, plugins: Plugins = NO_PLUGINS) -> None:
        super().__init__()
        self.spec = spec
        encoder = lookup(ENCODERS, "encoder", spec.encoder)
        size, patch, heads = spec.hidden_size, spec.patch_length, spec.heads
        self.tokens = Tokens(spec)
        self.encoder = encoder(
            size,
            size,
            spec.layers,
            batch_first=True,
            dropout=spec.dropout if spec.layers > 1 else 0.0,
        )
        self.among_states = SelfAttention(spec, plugins) if spec.self_attention else nn.Identity()
        self.attention = TemporalAttention(spec, plugins)
        self.summary = nn.Linear(size, size)
        self.future = nn.Parameter(torch.randn(spec.future_patches, PATCH_EMBEDDING).mul_(0.02))
        self.dates = CalendarEmbedding(PATCH_EMBEDDING) if spec.calendar else None
        self.mlp = nn.Sequential(
            nn.Linear(2 * size + PATCH_EMBEDDING + (heads + 1) * patch, spec.mlp_size),
            nn.GELU(),
            nn.Dropout(spec.dropout),
        )
        self.gates = nn.Linear(spec.mlp_size, heads)
        self.residual = nn.Linear(spec.mlp_size, patch)
        self.head = lookup(HEADS, "head", spec.head)(spec.mlp_size, patch)
        self.register_buffer("adjusted", _adjusted_heads(heads), persistent=False)

    def forward(
        self, context: Tensor, hidden: Tensor | None = None, calendar: Tensor | None = None
    ) -> NetworkOutput:
        """Forecast from `context` (B, L).

        `hidden` (B, L) marks values the encoder may not see although they can be copied: training
        noise, which keeps the weights honest. `calendar` are the `calendar_features` of the
        windows; ValueError where a model that looks at them gets none.
        """
        window = scale_window(context, self.spec.patch_length, self.spec.season_patches)
        before, ahead = self._dates(calendar)
        states = self._encode(self.tokens(window, hidden, before))
        weights = self.attention(states, window.observed.mean(2), ahead)  # (B, K, Hp, Lp + 2)
        past = self._copy(window, weights)  # (B, K, Hp, P)
        last = weights[..., -2, None] * (window.last - window.level)[:, None, None, None]
        copies = window.level[:, None, None, None] + past + last
        features = self._features(states, weights, copies, self._ahead(len(states), ahead))
        gates = self.gates(features).softmax(2).transpose(1, 2)[..., None]  # (B, K, Hp, 1)
        return self._output(
            window,
            copied=(gates * past).sum(1),
            last_value=(gates * last).sum(1).expand(-1, -1, self.spec.patch_length),
            residual=self.residual(features),
            offsets=self.head(features),
            weights=gates * weights,
        )

    def _dates(self, calendar: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the features of the past and of the future patches; none without a calendar."""
        if not self.spec.calendar:
            return None, None
        if calendar is None:
            raise ValueError("this network requires calendar features, found none")
        before, ahead = calendar.split((self.spec.past_patches, self.spec.future_patches), 1)
        return before, ahead

    def _encode(self, tokens: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(tokens)[0]
        states: Tensor = self.among_states(tokens + encoded)
        return states

    def _copy(self, window: ScaledWindow, weights: Tensor) -> Tensor:
        """Return what each head copies relative to the level; missing points stay on the level."""
        raw = (window.patches - window.level[:, None, None]) * window.observed  # (B, Lp, P)
        drift = (window.level[:, None] - window.patch_levels)[..., None] * window.observed
        values = raw[:, None] + self.adjusted[:, None, None] * drift[:, None]  # (B, K, Lp, P)
        return weights[..., :-2] @ values

    def _ahead(self, batch: int, dates: Tensor | None) -> Tensor:
        """Return the embedding of the position of each future patch, (B, Hp, PATCH_EMBEDDING)."""
        future = self.future.expand(batch, -1, -1)
        return future if self.dates is None else future + self.dates(dates)

    def _features(self, states: Tensor, weights: Tensor, copies: Tensor, ahead: Tensor) -> Tensor:
        summary = self.summary(weights[..., :-2].mean(1) @ states)  # (B, Hp, hidden size)
        latest = states[:, -1:].expand_as(summary)
        disagreement = (copies - copies.mean(1, keepdim=True)).abs().mean(1)  # (B, Hp, P)
        flat = copies.transpose(1, 2).flatten(2)  # (B, Hp, K * P)
        features: Tensor = self.mlp(torch.cat((summary, latest, ahead, flat, disagreement), 2))
        return features

    def _output(
        self,
        window: ScaledWindow,
        *,
        copied: Tensor,
        last_value: Tensor,
        residual: Tensor,
        offsets: Tensor,
        weights: Tensor,
    ) -> NetworkOutput:
        """Put the parts of the future patches in a row of H steps, in the units of the input."""
        scale = window.spread[:, None]
        copied, last_value, residual = (
            part.flatten(1, 2)[:, : self.spec.prediction_length] * scale
            for part in (copied, last_value, residual)
        )
        offsets = offsets.flatten(1, 2)[:, : self.spec.prediction_length] * scale[..., None]
        return NetworkOutput(
            level=window.centre + window.spread * window.level,
            copied=copied,
            last_value=last_value,
            residual=residual,
            deviations=(copied + last_value + residual)[..., None] + offsets,
            weights=weights.sum(1),
            adjusted_weights=weights[:, self.adjusted > 0, :, :-2].sum(1),
            spread=window.spread,
        )


def _adjusted_heads(heads: int) -> Tensor:
    """Mark the first half of the heads: they copy relative to each patch's own level."""
    return torch.zeros(heads).index_fill_(0, torch.arange(heads // 2), 1.0)
