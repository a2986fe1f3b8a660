"""Naive forecasts, as points (B, H) and with the intervals of their textbook (B, H, Q).

All take a context (B, L), NaN where missing, its last column at the cutoff, and return the same
units and dtype; NaN only for rows without any observation.

Points and intervals are those of Hyndman and Athanasopoulos, Forecasting: Principles and Practice
(3rd ed.), 5.2 and 5.5: the residuals' standard deviation grows with the time since the value that
is repeated was seen. That time, not the step ahead, is what is counted here, so that a gap before
the cutoff widens the intervals; without gaps both are the same.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from forecaster.baselines.distributions import normal_quantiles
from forecaster.schemas import QUANTILE_LEVELS

PointForecast = Callable[[Tensor, int, int], Tensor]
"""Contexts (B, L), prediction length and season to points (B, H)."""


def naive(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Repeat the last observed value."""
    last, _ = _last_observed(context)
    return last[:, None].expand(-1, prediction_length).clone()


def seasonal_naive(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Repeat the latest observed value of the same phase, else the last observed value."""
    values, _, _ = _same_phase(context, prediction_length, season_length)
    return values


def drift(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Go on along the line through the first and the last observed value."""
    last, age = _last_observed(context)
    change, distance = _changes(context[:, None])
    return last[:, None] + _slope(change, distance)[:, None] * _since(age, prediction_length)


def seasonal_naive_drift(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Seasonal naive, plus the average seasonal change for the time since the value repeated.

    The change is that from each observed value to the next of its phase, however many seasons lie
    between; none where less than half of the phases were observed twice. With season_length 1 this
    is `drift`.
    """
    values, age, _ = _same_phase(context, prediction_length, season_length)
    change = _seasonal_change(_by_phase(context, season_length))
    return values + change[:, None] / season_length * age


def naive_quantiles(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Return `naive` with a standard deviation of σ √h."""
    _, age = _last_observed(context)
    variance = _variance(*_changes(context[:, None]))
    spread = variance.nan_to_num()[:, None] * _since(age, prediction_length)
    return _normal(naive(context, prediction_length), spread)


def drift_quantiles(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Return `drift` with a standard deviation of σ √(h (1 + h / (T - 1)))."""
    _, age = _last_observed(context)
    change, distance = _changes(context[:, None])
    since, seen = _since(age, prediction_length), distance.nansum((1, 2)).clamp(min=1)
    slope = _slope(change, distance)[:, None, None]
    variance = _variance(change - slope * distance, distance, estimated=1).nan_to_num()
    spread = variance[:, None] * since * (1 + since / seen[:, None])
    return _normal(drift(context, prediction_length), spread)


def seasonal_naive_quantiles(
    context: Tensor, prediction_length: int, season_length: int = 1
) -> Tensor:
    """Return `seasonal_naive` with a standard deviation of σ √(k + 1), k whole seasons before.

    What has no value of its phase, or no seasonal change to learn σ from, has that of `naive`.
    """
    values, age, seasonal = _same_phase(context, prediction_length, season_length)
    change, distance = _changes(_by_phase(context, season_length))
    rate = _seasonal_rate(context, _variance(change, distance), season_length)
    return _normal(values, torch.where(seasonal, rate[:, 0, None], rate[:, 1, None]) * age)


def seasonal_naive_drift_quantiles(
    context: Tensor, prediction_length: int, season_length: int = 1
) -> Tensor:
    """Return `seasonal_naive_drift` with a standard deviation of σ √((k + 1) (1 + (k + 1) / n)).

    n seasonal changes are known; this is the textbook's `drift` in seasons.
    """
    _, age, seasonal = _same_phase(context, prediction_length, season_length)
    phases = _by_phase(context, season_length)
    change, distance = _changes(phases)
    slope = _seasonal_change(phases)[:, None, None]
    variance = _variance(change - slope * distance, distance, estimated=1)
    rate = _seasonal_rate(context, variance, season_length)
    seen = distance.nansum((1, 2)).clamp(min=1)[:, None]
    spread = torch.where(seasonal, rate[:, 0, None], rate[:, 1, None]) * age
    values = seasonal_naive_drift(context, prediction_length, season_length)
    return _normal(values, spread * (1 + age / season_length / seen))


def _normal(median: Tensor, variance: Tensor) -> Tensor:
    quantiles = median.new_tensor(normal_quantiles(QUANTILE_LEVELS))
    return median[..., None] + variance.sqrt()[..., None] * quantiles


def _since(age: Tensor, prediction_length: int) -> Tensor:
    """Return the steps (B, H) since the last observation, of age 1 if it lies at the cutoff."""
    return age[:, None] + torch.arange(prediction_length, device=age.device)


def _changes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return each value's change since the one observed before it along the last axis.

    Also how far apart they are; both have the shape of `values`, NaN where there is no such pair.
    """
    positions = torch.arange(values.shape[-1], device=values.device)
    latest = torch.where(values.isnan(), -1, positions).cummax(-1).values
    before = torch.nn.functional.pad(latest, (1, 0), value=-1)[..., :-1]
    change = values - values.gather(-1, before.clamp(min=0)).masked_fill(before < 0, torch.nan)
    return change, (positions - before).to(values.dtype).masked_fill(change.isnan(), torch.nan)


def _slope(change: Tensor, distance: Tensor) -> Tensor:
    """Return the average change for one step (B,), 0 where there is none."""
    return change.nansum((1, 2)) / distance.nansum((1, 2)).clamp(min=1)


def _seasonal_change(phases: Tensor) -> Tensor:
    """Return the average change in one season (B,) of values by phase (B, P, seasons).

    0 where less than half of the phases that have a value have two: so few are not representative.
    """
    change, distance = _changes(phases)
    shown, paired = ((~values.isnan()).any(2).sum(1) for values in (phases, change))
    return _slope(change, distance).where(2 * paired >= shown, 0.0)


def _variance(residual: Tensor, distance: Tensor, estimated: int = 0) -> Tensor:
    """Return the residuals' variance for one step (B,), NaN where there are none.

    The variance of a random walk grows with `distance`; `estimated` parameters cost one each.
    """
    count = (~residual.isnan()).sum((1, 2))
    total = (residual.square() / distance).nansum((1, 2))
    return torch.where(count > 0, total / (count - estimated).clamp(min=1), torch.nan)


def _seasonal_rate(context: Tensor, variance: Tensor, season_length: int) -> Tensor:
    """Return the variance per step (B, 2) of repeating a season, and of repeating the last value.

    Where no seasonal change is known the first is the second; where nothing is known both are 0.
    """
    plain = _variance(*_changes(context[:, None]))
    seasonal = variance / season_length
    return torch.stack((torch.where(seasonal.isnan(), plain, seasonal), plain), 1).nan_to_num()


def _by_phase(context: Tensor, season_length: int) -> Tensor:
    """Return the context as (B, season_length, seasons), the last phase at the cutoff."""
    seasons = -(-context.shape[1] // season_length)
    padding = (seasons * season_length - context.shape[1], 0)
    padded = torch.nn.functional.pad(context, padding, value=torch.nan)
    return padded.view(len(context), seasons, season_length).transpose(1, 2)


def _same_phase(
    context: Tensor, prediction_length: int, season_length: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B, H) thrice: the value each step repeats, the steps since, and if of its phase."""
    values, seasons_ago = _last_observed(_by_phase(context, season_length))
    steps = torch.arange(prediction_length, device=context.device)
    phase, season = steps % season_length, steps // season_length
    values, age = values[:, phase], (seasons_ago[:, phase] + season) * season_length
    last, last_age = _last_observed(context)
    missing = values.isnan()
    return (
        torch.where(missing, last[:, None], values),
        torch.where(missing, _since(last_age, prediction_length), age),
        ~missing,
    )


def _last_observed(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last value that is not NaN along the last axis, and its age: 1 is the last."""
    length = values.shape[-1]
    positions = torch.arange(length, device=values.device)
    latest = torch.where(values.isnan(), -1, positions).amax(dim=-1, keepdim=True)
    last = values.gather(-1, latest.clamp(min=0))
    return last.squeeze(-1), (length - latest).squeeze(-1)
