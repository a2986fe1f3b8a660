"""Hold-out: the newest windows of some series, held out from training to evaluate a model.

Few series all have their newest windows held out. Of many, one in two to eight does, for longer:
the others are learnt to their last value, and no second training is needed for that.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forecaster.data.panel import Panel
from forecaster.network.spec import ModelSpec
from forecaster.training.hyperparameters import MANY_SERIES, median_history
from forecaster.training.sampling import cutoff_ranges

MOST_WINDOWS = 10
SHARE = 0.05
"""Of all values; at least one window a series, as long as that leaves three quarters of it."""
LEAST_SERIES, LARGEST_STRIDE = 50, 8
"""Of many series that can be evaluated, up to one in eight is held out, and at least fifty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """Rows of a panel (R,), on the CPU, whose last `windows` prediction lengths are held out."""

    rows: Tensor
    windows: int
    prediction_length: int

    @property
    def steps(self) -> int:
        """How many of the newest steps of its rows are held out."""
        return self.windows * self.prediction_length

    def share_of(self, panel: Panel) -> float:
        """Return which share of a history of median length is held out, on average."""
        return self.steps * len(self.rows) / len(panel) / max(1, median_history(panel))

    def rest_of(self, panel: Panel) -> Panel:
        """Return `panel` without what is held out."""
        if len(self.rows) == len(panel):
            return replace(panel, deviations=panel.deviations[:, : panel.length - self.steps])
        deviations = panel.deviations.clone()
        deviations[self.rows, panel.length - self.steps :] = torch.nan
        return replace(panel, deviations=deviations)

    def pairs(self, panel: Panel) -> Tensor:
        """Return rows and cutoffs (W, 2): every cutoff whose targets are all kept back."""
        last = panel.end - self.prediction_length
        first = panel.end - self.steps if self.windows else last + 1
        return torch.cartesian_prod(self.rows, torch.arange(first, last + 1)).view(-1, 2)


def hold_out(panel: Panel, spec: ModelSpec) -> HoldOut:
    """Return what to hold out of `panel`: nothing where nothing else would be left to learn."""
    length, rows, stride = spec.prediction_length, torch.arange(len(panel)), 1
    if len(panel) >= MANY_SERIES:
        rows = _able(panel, spec)
        stride = max(1, min(LARGEST_STRIDE, len(rows) // LEAST_SERIES))
        rows = _drawn(rows, len(rows) // stride)
    holdout = HoldOut(
        rows=rows,
        windows=windows_to_spare(median_history(panel), length, stride),
        prediction_length=length,
    )
    return (
        holdout
        if cutoff_ranges(holdout.rest_of(panel), spec).total
        else replace(holdout, windows=0)
    )


def _able(panel: Panel, spec: ModelSpec) -> Tensor:
    """Return the rows whose newest window can be evaluated: not those that ended or just began."""
    observed, cutoff = panel.deviations.isfinite().cpu(), -spec.prediction_length
    enough = observed[:, :cutoff].sum(1) >= spec.min_observed
    return (enough & observed[:, cutoff:].any(1)).nonzero()[:, 0]


def _drawn(rows: Tensor, count: int) -> Tensor:
    """Draw `count` rows, always the same: sorted names put like series at equal distances."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[:count].sort().values]


def windows_to_spare(history: int, prediction_length: int, stride: int = 1) -> int:
    """Return how many windows, one after the other, the end of `history` steps can spare.

    Where one series in `stride` spares any, it spares that many times as much.
    """
    wanted = round(history * SHARE * stride / prediction_length)
    possible = history // 4 // prediction_length
    return min(max(1, wanted), possible, MOST_WINDOWS)
