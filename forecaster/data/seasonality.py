"""Which seasons a dataset has: found in the data, among the lengths its step makes natural.

The test: remove a centred moving average of one season over the last 20 seasons, clip the
residual at its 1 and 99 % quantiles, and take the autocorrelation at the season. The season is
there if the median over at most 60 series is above 1/4, above what chance gives in that many
pairs, and above the median at half the season: otherwise a smooth day would pass for an hour, and
a repeated hour for a day. A repeated day does pass as a week, which costs nothing.

All of it is over what is observed, as a series that is closed at night never shows a whole day:
the moving average asks for half of the values that the series has in a season, and where too few
pairs lie half a season apart, the least correlation at a quarter and an eighth stands for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from forecaster.data.panel import Panel
from forecaster.data.windows import gather
from forecaster.times.durations import Step

_HOUR = 3_600_000_000
_PERIODS = {
    "microsecond": (_HOUR, 24 * _HOUR, 168 * _HOUR),
    "day": (7,),
    "week": (364,),
    "month": (12,),
}
"""Hour, day, week and year in the unit of a step, days for weeks."""

_LEAST_AUTOCORRELATION = 0.25
_LEAST_DEVIATIONS = 2.0
"""Standard deviations of the autocorrelation of noise, 1/√pairs, that a season must exceed."""

_LEAST_ADDED = 0.05
"""How far above half of it a season must lie once a shorter one was found."""

LEAST_CYCLES, _MOST_CYCLES = 3, 20
_MOST_SERIES, _MOST_VALUES = 60, 4_000_000
_LEAST_SMOOTHED = 7
"""Steps in a moving average at the least; fewer would make noise look like a season of 2."""

_LEAST_HOUR = 60
"""Steps in an hour below which it gives way to a day."""

_MOST_PAIRS_MISSING, _FEWEST_SHORTER_PAIRS = 0.25, 0.25
"""Shares of the pairs at a season: half of it is compared unless more than the first are missing
there, and shorter parts of it where there are at least as many as the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seasons:
    """The shortest and the longest season in steps; 1 and 1 if there is none."""

    season_length: int
    long_season: int


def candidates(step: Step) -> tuple[int, ...]:
    """Return the hour, day, week and year in steps, where whole and longer than one step.

    A year counts in weeks (52 of them) and months only: in days it is not whole.
    """
    weekly = step.unit == "day" and step.count % 7 == 0
    periods = _PERIODS["week" if weekly else step.unit]
    return tuple(
        period // step.count
        for period in periods
        if period % step.count == 0 and period > step.count
    )


def detect_seasons(panel: Panel, step: Step) -> Seasons:
    """Return the shortest and the longest candidate that passes the season test.

    Series vote by median, so constant ones and ones too short or too sparse are not counted.
    A day is never lost between an hour and a week: up to one step a minute the hour and the day
    are kept, above that the day and the week.
    """
    passing: list[int] = []
    for season in candidates(step):
        if _passes(panel, season, _LEAST_ADDED if passing else 0.0):
            passing.append(season)
    if not passing:
        return Seasons(season_length=1, long_season=1)
    if len(passing) > 1 and passing[0] * step.count == _HOUR and passing[0] < _LEAST_HOUR:
        passing = passing[1:]
    return Seasons(season_length=passing[0], long_season=passing[:2][-1])


def _passes(panel: Panel, season: int, least_added: float) -> bool:
    cycles = min(_MOST_CYCLES, panel.length // season)
    if cycles < LEAST_CYCLES:
        return False
    residual = _clipped(_detrended(_latest(panel, cycles * season, season), season))
    correlation, pairs = _autocorrelation(residual, season)
    within = _within(residual, season, pairs)
    votes = correlation.isfinite() & ~within.isnan()
    if not votes.any():
        return False
    chance = _LEAST_DEVIATIONS / _median(pairs[votes]) ** 0.5
    least = max(_LEAST_AUTOCORRELATION, chance, _median(within[votes]) + least_added)
    return bool(_median(correlation[votes]) > least)


def _within(residual: Tensor, season: int, pairs: Tensor) -> Tensor:
    """Return the correlation (S,) at half the season, which that of the season has to exceed.

    Where a series is closed for half of every season, hardly any pair lies so far apart, and all
    of those at the edges: the least at a quarter and an eighth counts instead. -inf where there are
    too few pairs there as well, NaN if constant.
    """
    at_half, at_half_pairs = _autocorrelation(residual, season // 2)
    least = torch.full_like(at_half, torch.inf)
    for part in (season // 4, season // 8):
        correlation, shorter_pairs = _autocorrelation(residual, max(1, part))
        is_known = correlation.isfinite() & (shorter_pairs >= _FEWEST_SHORTER_PAIRS * pairs)
        least = torch.where(is_known, least.minimum(correlation), least)
    least = torch.where(least.isfinite(), least, -torch.inf)
    return torch.where(at_half_pairs >= (1 - _MOST_PAIRS_MISSING) * pairs, at_half, least)


def _median(values: Tensor) -> float:
    return float(values.median())


def _latest(panel: Panel, length: int, season: int) -> Tensor:
    """Return the last `length` steps (S, length) of series that show all they have of a season
    at least twice."""
    enough = _shows_twice(panel.deviations.isfinite(), season).nonzero()[:, 0]
    most = max(1, min(_MOST_SERIES, _MOST_VALUES // length))
    picked = torch.linspace(0, len(enough) - 1, min(most, len(enough))).round().long()
    rows = enough[picked]
    columns = torch.arange(panel.length, device=rows.device)
    last = torch.where(panel.deviations[rows].isfinite(), columns, -1).amax(dim=1)
    return gather(panel, rows, panel.start + last, length).context.double()


def _shows_twice(observed: Tensor, season: int) -> Tensor:
    """Return (N,) which series have at least two values for each phase of a season that they show.

    On average: what is closed in every season is no phase that could be shown.
    """
    phases = torch.zeros(len(observed), season, dtype=torch.bool, device=observed.device)
    for part in observed.split(season, dim=1):
        phases[:, : part.shape[1]] |= part
    shown = phases.sum(dim=1)
    return (shown > 0) & (observed.sum(dim=1) >= 2 * shown)


def _detrended(values: Tensor, season: int) -> Tensor:
    """Subtract the centred moving average over one season, or several of a short season.

    NaN where less than half of what the series mostly has in so many steps is observed.
    """
    width = season * -(-_LEAST_SMOOTHED // season)
    if values.shape[1] <= width:
        return values[:, :0]
    values = _clipped(values)
    observed = _centred_sum(values.isfinite().double(), width)
    average = _centred_sum(values.nan_to_num(nan=0.0), width) / observed
    average[observed < observed.amax(dim=1, keepdim=True) / 2] = torch.nan
    first = width // 2
    return values[:, first : first + average.shape[1]] - average


def _centred_sum(values: Tensor, width: int) -> Tensor:
    """Return sums over `width` steps; if that is even, the two steps at the ends count half."""
    running = torch.nn.functional.pad(values.cumsum(dim=1), (1, 0))
    sums = running[:, width:] - running[:, :-width]
    return sums if width % 2 else (sums[:, 1:] + sums[:, :-1]) / 2


def _clipped(values: Tensor) -> Tensor:
    """Clip each row at its 1 and 99 % quantiles, so that single spikes do not decide."""
    if values.numel() == 0:
        return values
    bounds = values.new_tensor([0.01, 0.99])
    low, high = values.nanquantile(bounds, dim=1, keepdim=True)
    return values.clamp(low, high)


def _autocorrelation(residual: Tensor, lag: int) -> tuple[Tensor, Tensor]:
    """Return the correlation at `lag` over observed pairs (S,), NaN if constant, and the pairs."""
    early, late = residual[:, : max(0, residual.shape[1] - lag)], residual[:, lag:]
    both = early.isfinite() & late.isfinite()
    early, late = early.where(both, 0.0), late.where(both, 0.0)
    size = (early.square().sum(dim=1) * late.square().sum(dim=1)).sqrt()
    return (early * late).sum(dim=1) / size, both.sum(dim=1)
