"""Tokens: past patches as the vectors that the encoder reads.

With window statistics every patch is in the units of the whole window. With causal statistics it is
in the units of all that was seen up to its own end, beside how those units moved since the patch
before: nothing later changes a token.
"""

import torch
from torch import Tensor, nn

from forecaster.network.calendar_features import CalendarEmbedding
from forecaster.network.scaling import SMALLEST_SPREAD, ScaledWindow
from forecaster.network.spec import ModelSpec

LARGEST_VALUE, LARGEST_MOVE, LARGEST_GROWTH = 20.0, 5.0, 3.0
"""Bounds of causal tokens, whose first patches are scaled by little: a value and the move of the
centre in spreads, the growth of the spread as a logarithm."""


class Tokens(nn.Module):
    """A linear map of each patch's values, of which of them are there, and of its calendar."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.patch_length, self.is_causal = spec.patch_length, spec.statistics == "causal"
        moves = 2 if self.is_causal else 0
        self.embed = nn.Linear(2 * spec.patch_length + moves, spec.hidden_size)
        self.calendar = CalendarEmbedding(spec.hidden_size) if spec.calendar else None

    def forward(self, window: ScaledWindow, hidden: Tensor | None, dates: Tensor | None) -> Tensor:
        """Return tokens (B, Lp, hidden size).

        `hidden` (B, L) marks values that are not to be seen; `dates` (B, Lp, FEATURES) are needed
        by a model with a calendar.
        """
        values, observed = window.patches, window.observed
        if hidden is not None:
            visible = (~hidden).to(values.dtype).unflatten(1, (-1, self.patch_length))
            values, observed = values * visible, observed * visible
        parts = _causal(values, observed, window) if self.is_causal else (values, observed)
        tokens: Tensor = self.embed(torch.cat(parts, 2))
        return tokens if self.calendar is None else tokens + self.calendar(dates)


def _causal(values: Tensor, observed: Tensor, window: ScaledWindow) -> tuple[Tensor, ...]:
    """Return patches in running units, what is observed, and the moves of those units.

    Sums are in float64, where a patch that is far from the centre of its window keeps its spread.
    """
    exact, seen = values.double(), observed.double().sum(2).cumsum(1)
    count = seen.clamp(min=1.0)
    centre = exact.sum(2).cumsum(1) / count
    variance = exact.square().sum(2).cumsum(1) / count - centre.square()
    least = SMALLEST_SPREAD / window.spread[:, None]
    spread = torch.maximum(variance.clamp(min=0.0).sqrt(), least)
    scaled = (values - centre[..., None]) / spread[..., None]
    move = centre.diff(dim=1) / spread[:, 1:]
    growth = spread.log().diff(dim=1)
    moved = seen[:, :-1] > 0
    return (
        scaled.clamp(-LARGEST_VALUE, LARGEST_VALUE).to(values.dtype) * observed,
        observed,
        _moves(move.clamp(-LARGEST_MOVE, LARGEST_MOVE) * moved, values),
        _moves(growth.clamp(-LARGEST_GROWTH, LARGEST_GROWTH) * moved, values),
    )


def _moves(moves: Tensor, like: Tensor) -> Tensor:
    """Return moves (B, Lp - 1) between patches as (B, Lp, 1): none before the first."""
    return nn.functional.pad(moves, (1, 0))[..., None].to(like.dtype)
