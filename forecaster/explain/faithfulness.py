"""Faithfulness of attention: how forecasts change when past patches are removed from the input.

A removed patch becomes missing. Training hides patches too (`forecaster.training.masking`), so a
window without one is nothing new to the network; without that the test would measure its surprise.

Shapes: B windows of Lp past patches; H steps ahead. Changes and errors are in the units of the
panel, which are seasonal errors.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from forecaster.data.windows import Windows
from forecaster.explain.report import COUNTS, Effect, Removal
from forecaster.network.network import NetworkOutput
from forecaster.network.output_heads import MEDIAN

ForecastFunction: TypeAlias = Callable[[Windows], NetworkOutput]
"""A model that forecasts windows."""

DRAWS = 4
"""Random choices per window, where not every choice of one is tried."""


class Deleter:
    """Forecasts windows with and without some of their past patches."""

    def __init__(self, forecast: ForecastFunction, windows: Windows, patch_length: int) -> None:
        """Forecast the whole windows, and without each patch alone.

        `patch_length` divides the context of `windows`.
        """
        self._forecast, self._windows, self._patch = forecast, windows, patch_length
        self._median = _median(forecast(windows))
        count, patches = len(self._median), windows.context.shape[1] // patch_length
        one = torch.eye(patches, dtype=torch.bool)[:, None].expand(-1, count, -1)
        self.alone = self.without(one).movedim(0, 2)
        """(2, B, Lp) what leaving each patch out alone does."""

    def without(self, removed: Tensor) -> Tensor:
        """Return (K, 2, B): change and increase of the error for K choices `removed` (K, B, Lp).

        All of them are forecast at once.
        """
        gone = removed.repeat_interleave(self._patch, 2)
        context = torch.where(gone, torch.nan, self._windows.context).flatten(0, 1)
        output = self._forecast(_repeated(self._windows, len(removed), context))
        median, target = _median(output).unflatten(0, removed.shape[:2]), self._target
        change = (median - self._median).abs().mean(2)
        more = (target - median).abs() - (target - self._median).abs()
        return torch.stack((change, more.nanmean(2)), 1)

    def without_first(self, scores: Tensor, candidates: Tensor, count: int) -> Tensor:
        """Return (K, 2, B): the effect of removing the `count` candidates that score highest.

        `scores` (K, B, Lp) are K of them for each patch, `candidates` (B, Lp).
        """
        position = rank(scores, candidates)
        if count == 1:
            return torch.stack([self.alone[:, first] for first in position == 0])
        return self.without((position < count) & candidates)

    @property
    def _target(self) -> Tensor:
        target = self._windows.target
        return torch.full_like(self._median, torch.nan) if target is None else target


def _repeated(windows: Windows, times: int, context: Tensor) -> Windows:
    """Return `windows` so many times, with other contexts (times × B, L) and without targets."""
    rows, cutoffs, scale = (
        part.repeat(times) for part in (windows.rows, windows.cutoffs, windows.scale)
    )
    return Windows(context=context, target=None, scale=scale, rows=rows, cutoffs=cutoffs)


def _median(output: NetworkOutput) -> Tensor:
    return output.level[:, None] + output.deviations[..., MEDIAN]


def rank(scores: Tensor, candidates: Tensor) -> Tensor:
    """Return (…, B, Lp) positions in falling order of `scores`; 0 is the highest candidate.

    What is no candidate comes last.
    """
    kept = scores.masked_fill(~candidates, -torch.inf)
    position: Tensor = kept.argsort(stable=True, dim=-1, descending=True).argsort(-1)
    return position


def removals(
    deleter: Deleter, weights: Tensor, candidates: Tensor, generator: torch.Generator
) -> tuple[Removal, ...]:
    """Compare attended, random and least attended patches; one Removal for each of COUNTS.

    `weights` (B, Lp) are the attention on each past patch, `candidates` (B, Lp) which may be
    removed. Windows that have no more candidates than a count are left out of it, and so is a
    count for which no window is left.
    """
    results = []
    for count in COUNTS:
        enough = candidates.sum(1) > count
        if not bool(enough.any()):
            break
        draws = [] if count == 1 else _draws(candidates, generator)
        scores = torch.stack((weights, -weights, *draws))
        attended, least, *drawn = deleter.without_first(scores, candidates, count)
        random = torch.stack(drawn).mean(0) if drawn else _any_one(deleter, candidates)
        effects = [_mean(effect[:, enough]) for effect in (attended, random, least)]
        names = ("attended", "random", "least")
        results.append(Removal(patches=count, **dict(zip(names, effects, strict=True))))
    return tuple(results)


def _draws(candidates: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Return scores by which patches are removed at random."""
    return [torch.rand(candidates.shape, generator=generator) for _ in range(DRAWS)]


def _any_one(deleter: Deleter, candidates: Tensor) -> Tensor:
    """Return the mean effect (2, B) of removing any one candidate, which is exact."""
    return torch.where(candidates, deleter.alone, 0.0).sum(2) / candidates.sum(1).clamp(min=1)


def _mean(effect: Tensor) -> Effect:
    change, error = effect.double().nanmean(1).tolist()
    return Effect(change=change, error=error)


def naopc(deleter: Deleter, weights: Tensor, candidates: Tensor) -> float:
    """Return the normalised area over the perturbation curve of the order of attention.

    The area is the mean change over removing 1 … 5 patches, one after the other; 1 is that of the
    order by what leaving a patch out alone does, 0 that of its reverse (Edin et al. 2024,
    arXiv 2408.08137: there both bounds are searched for; normalised over all windows together).
    NaN where the bounds are equal.
    """
    enough = candidates.sum(1) > 1
    orders = torch.stack((weights, deleter.alone[0], -deleter.alone[0]))
    areas = _areas(deleter, orders, candidates)[:, enough].double().mean(1)
    attended, best, worst = areas.tolist()
    span = best - worst
    return (attended - worst) / span if span else math.nan


def _areas(deleter: Deleter, scores: Tensor, candidates: Tensor) -> Tensor:
    """Return (K, B): the mean change without the 1 … 5 highest scores, or all but one."""
    most = (candidates.sum(1) - 1).clamp(min=1, max=max(COUNTS))
    total = torch.zeros(scores.shape[:2])
    for count in range(1, max(COUNTS) + 1):
        change = deleter.without_first(scores, candidates, count)[:, 0]
        total += torch.where(count <= most, change, 0.0)
    return total / most
