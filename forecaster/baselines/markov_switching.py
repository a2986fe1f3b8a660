"""Markov-switching autoregression: two regimes, each with its own level and noise.

    y_t = c_s + φ y_{t-1} + σ_s ε_t,    P(s_t | s_{t-1})        (Hamilton 1989, Econometrica 57(2))

Fitted to every series on its own by statsmodels' MarkovRegression on the lagged value: for 600
values a quarter of a second, or two where it does not converge (many equal values leave a regime
without noise, and the likelihood without a bound). This is for hundreds of series.
"""

import warnings
from collections import Counter
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecaster.baselines.distributions import mixture_quantiles
from forecaster.baselines.naive import seasonal_naive, seasonal_naive_quantiles
from forecaster.errors import DataError
from forecaster.schemas import QUANTILE_LEVELS

FEWEST_VALUES = 24
"""Seven parameters are estimated."""

LEAST_VARIANCE = 1e-12


class Unfitted(StrEnum):
    """Why a series has no model of its own."""

    TOO_SHORT = "too_short"
    CONSTANT = "constant"
    NOT_CONVERGED = "not_converged"


class UnfittedWarning(UserWarning):
    """Some series were forecast by seasonal naive instead; the message says how many and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regimes:
    """Fitted models of R series, of values with mean 0 and variance 1."""

    transitions: Tensor
    """(R, 2, 2) probability of going from one regime to another."""
    now: Tensor
    """(R, 2) probability of each regime at the last observation."""
    constants: Tensor
    """(R, 2)"""
    variances: Tensor
    """(R, 2)"""
    slope: Tensor
    """(R, 1)"""
    last: Tensor
    """(R, 1) the last observed value."""
    age: Tensor
    """(R, 1) steps since it was observed; 1 at the cutoff."""
    mean: Tensor
    """(R, 1) of the values before they were standardised."""
    deviation: Tensor
    """(R, 1)"""


def markov_switching(context: Tensor, prediction_length: int, season_length: int = 1) -> Tensor:
    """Forecast quantiles (B, H, Q) from a context (B, L), NaN where missing; NaN without any value.

    With a season the model is one of changes over a season, added to the seasonal naive forecast;
    further ahead than a season they add up. Gaps are filled by straight lines to fit. A series that
    cannot be fitted is forecast by seasonal naive, and an UnfittedWarning says why. DataError when
    statsmodels is missing.
    """
    regression = _regression()
    seasonal = 1 < season_length < context.shape[1]
    changes = context[:, season_length:] - context[:, :-season_length] if seasonal else context
    quantiles = seasonal_naive_quantiles(context, prediction_length, season_length)
    outcomes = [_fit(row, regression) for row in changes.double().cpu().numpy()]
    _warn([outcome for outcome in outcomes if isinstance(outcome, Unfitted)], len(outcomes))
    fitted = [outcome for outcome in outcomes if isinstance(outcome, Regimes)]
    if not fitted:
        return quantiles
    rows = torch.tensor([isinstance(outcome, Regimes) for outcome in outcomes])
    weights, means, variances = _ahead(_together(fitted), prediction_length)
    if seasonal:
        means, variances = _add_up(weights, means, variances, season_length)
        means += seasonal_naive(context, prediction_length, season_length)[rows, :, None].cpu()
    scales = variances.clamp(min=LEAST_VARIANCE).sqrt()
    quantiles[rows] = mixture_quantiles(weights, means, scales, QUANTILE_LEVELS).to(quantiles)
    return quantiles


def _regression() -> Any:
    try:
        from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression
    except ImportError as error:
        raise DataError(
            "markov_switching requires statsmodels, which is not installed",
            hint="pip install 'forecaster[demo]', or do not use markov_switching",
        ) from error
    return MarkovRegression


def _warn(unfitted: list[Unfitted], series: int) -> None:
    if unfitted:
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(unfitted).items())
        message = (
            f"markov_switching was replaced by seasonal naive for {len(unfitted)} of {series} "
            "series: "
            f"{reasons}"
        )
        warnings.warn(message, UnfittedWarning, stacklevel=4)


def _fit(values: NDArray[np.float64], regression: Any) -> Regimes | Unfitted:
    """Fit one series (T,) from its first to its last observation."""
    observed = np.flatnonzero(~np.isnan(values))
    if len(observed) < FEWEST_VALUES:
        return Unfitted.TOO_SHORT
    filled = np.interp(np.arange(observed[0], observed[-1] + 1), observed, values[observed])
    mean, deviation = filled.mean(), filled.std()
    if deviation <= 1e-9 * np.abs(filled).max():
        return Unfitted.CONSTANT
    standard = (filled - mean) / deviation
    model = regression(
        standard[1:], k_regimes=2, exog=standard[:-1], switching_exog=False, switching_variance=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = model.fit(disp=False)
        except (ValueError, ArithmeticError, RuntimeError, LookupError, np.linalg.LinAlgError):
            return Unfitted.NOT_CONVERGED
    return _regimes(
        result, last=standard[-1], age=len(values) - observed[-1], mean=mean, deviation=deviation
    )


def _regimes(result: Any, **observed_part: float) -> Regimes | Unfitted:
    """Read a result of statsmodels; `observed_part` are the fields that it does not know."""
    named = dict(zip(result.model.param_names, result.params, strict=True))
    stay, back = named["p[0->0]"], named["p[1->0]"]
    parts = {
        "transitions": [[stay, 1 - stay], [back, 1 - back]],
        "now": result.filtered_marginal_probabilities[-1],
        "constants": [named["const[0]"], named["const[1]"]],
        "variances": [named["sigma2[0]"], named["sigma2[1]"]],
        "slope": [np.clip(named["x1"] if "x1" in named else named["x1[1]"], -1, 1)],
        **{name: [value] for name, value in observed_part.items()},
    }
    if not (
        result.mle_retvals["converged"] and all(np.isfinite(part).all() for part in parts.values())
    ):
        return Unfitted.NOT_CONVERGED
    return Regimes(**{name: torch.tensor(np.array(part))[None] for name, part in parts.items()})


def _together(fitted: list[Regimes]) -> Regimes:
    return Regimes(
        **{
            field.name: torch.cat([getattr(regimes, field.name) for regimes in fitted])
            for field in fields(Regimes)
        }
    )


def _ahead(regimes: Regimes, prediction_length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return probability, mean and variance (R, H, 2) of the value in each regime at each step.

    Both moments are exact: what regime s inherits is mixed over the regimes it may come from.
    """
    weights, variances = regimes.now, torch.zeros_like(regimes.now)
    means = regimes.last.expand_as(weights)
    ahead = []
    for _ in range(int(regimes.age.max()) - 1 + prediction_length):
        joint = weights[:, :, None] * regimes.transitions  # (R, from, to)
        weights = joint.sum(1)
        share = joint / weights[:, None].clamp(min=torch.finfo(weights.dtype).tiny)
        before = (share * means[..., None]).sum(1)
        second = (share * (variances + means.square())[..., None]).sum(1)
        means = regimes.constants + regimes.slope * before
        variances = regimes.variances + regimes.slope.square() * (second - before.square())
        ahead.append(torch.stack((weights, means, variances)))
    steps = regimes.age.long() - 1 + torch.arange(prediction_length)  # (R, H)
    index = steps[None, :, :, None].expand(3, -1, -1, 2)
    weights, means, variances = torch.stack(ahead, 2).gather(2, index)
    deviation = regimes.deviation[..., None]
    return weights, means * deviation + regimes.mean[..., None], variances * deviation.square()


def _add_up(
    weights: Tensor, means: Tensor, variances: Tensor, season_length: int
) -> tuple[Tensor, Tensor]:
    """Add to each step's moments (R, H, 2) those of the changes whole seasons before it.

    As if they were independent: their sum has all of the noise but only the last one's shape.
    """
    mean = (weights * means).sum(2, keepdim=True)
    variance = (weights * (variances + means.square())).sum(2, keepdim=True) - mean.square()
    means, variances = means.clone(), variances.clone()
    for lag in range(season_length, means.shape[1], season_length):
        means[:, lag:] += mean[:, :-lag]
        variances[:, lag:] += variance[:, :-lag]
    return means, variances
