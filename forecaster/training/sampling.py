"""Where windows may lie: the cutoffs to learn from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from forecaster.data.open_steps import open_ahead
from forecaster.data.panel import Panel
from forecaster.data.windows import gather
from forecaster.network.calendar_features import calendar_features
from forecaster.network.spec import ModelSpec
from forecaster.training.loss import series_weights
from forecaster.training.masking import cut_gaps, hide_values
from forecaster.training.regimes import change_regimes, changed_share


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoffRanges:
    """Rows of a panel with the first cutoff to learn from and how many follow it, each (R,).

    Cutoffs count on the grid, or where `ahead` is given, among those with anything open ahead.
    """

    rows: Tensor
    first: Tensor
    count: Tensor
    ahead: Tensor | None = None
    """Grid indices, ascending."""

    @property
    def total(self) -> int:
        """Number of distinct windows."""
        return int(self.count.sum())

    def draw(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `size` windows, every series as often as any other: rows and cutoffs."""
        device = self.rows.device
        index = torch.randint(len(self.rows), (size,), generator=generator, device=device)
        share = torch.rand(size, generator=generator, device=device, dtype=torch.float64)
        cutoffs = self.first[index] + (share * self.count[index]).long()
        return self.rows[index], cutoffs if self.ahead is None else self.ahead[cutoffs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B windows to learn from, NaN where missing, with the noise of `masking`.

    context (B, L), target (B, H), hidden (B, L) values the encoder may not see, weights (B,) of
    their series in the loss, calendar (B, Lp + Hp, FEATURES) where the model looks at one.
    """

    context: Tensor
    target: Tensor
    hidden: Tensor
    weights: Tensor
    calendar: Tensor | None = None


class Sampler:
    """Draws batches from all windows of a panel, on the panel's device."""

    def __init__(self, panel: Panel, spec: ModelSpec, generator: torch.Generator) -> None:
        self._panel, self._spec, self._generator = panel, spec, generator
        self._ranges = cutoff_ranges(panel, spec)
        self._weights = series_weights(panel).to(panel.deviations.device)

    def draw(self, size: int) -> Batch:
        """Draw `size` windows with replacement."""
        spec, generator = self._spec, self._generator
        rows, cutoffs = self._ranges.draw(size, generator)
        windows = gather(self._panel, rows, cutoffs, spec.context_length, spec.prediction_length)
        assert windows.target is not None
        context, target = change_regimes(
            windows.context,
            windows.target,
            share=changed_share(len(self._panel)),
            newest=max(2, spec.patch_length // 2),
            season=max(spec.season_length, spec.patch_length),
            generator=generator,
        )
        context = cut_gaps(context, spec.max_lag, spec.patch_length, generator)
        return Batch(
            context=context,
            target=target,
            hidden=hide_values(context, spec.patch_length, generator),
            weights=self._weights[rows],
            calendar=calendar_features(spec, cutoffs),
        )


def cutoff_ranges(panel: Panel, spec: ModelSpec) -> CutoffRanges:
    """Return the windows of `panel` with enough context and, where there are any, whole targets.

    A series too short for both gives one window with as much target as it has.
    """
    observed = panel.deviations.isfinite()
    seen = observed.any(1)
    start = observed.float().argmax(1)
    end = panel.length - 1 - observed.flip(1).float().argmax(1)
    first = start + spec.min_observed - 1
    last = torch.maximum(first, end - spec.prediction_length)
    rows = (seen & (first < end)).nonzero()[:, 0]
    ranges = CutoffRanges(
        rows=rows, first=panel.start + first[rows], count=(last - first + 1)[rows]
    )
    return ranges if panel.grid.hours is None else _with_open_targets(ranges, panel, spec)


def _with_open_targets(ranges: CutoffRanges, panel: Panel, spec: ModelSpec) -> CutoffRanges:
    """Leave out the cutoffs that teach nothing: all that would be forecast is closed."""
    cutoffs = torch.arange(panel.start, panel.end + 1)
    is_ahead = open_ahead(panel.grid, cutoffs, spec.prediction_length)
    ahead = cutoffs[is_ahead].to(ranges.first.device)
    begin = torch.searchsorted(ahead, ranges.first)
    count = torch.searchsorted(ahead, ranges.first + ranges.count) - begin
    some = count > 0
    return CutoffRanges(rows=ranges.rows[some], first=begin[some], count=count[some], ahead=ahead)
