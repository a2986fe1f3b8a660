"""Rivals: forecasts that a model is compared with in a backtest, made in the units of the data."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from forecaster.baselines.naive2 import naive2_quantiles
from forecaster.baselines.registry import BASELINES
from forecaster.baselines.statsforecast_models import (
    LONGEST,
    METHODS,
    require_package,
    statistical_quantiles,
)
from forecaster.data.panel import Panel
from forecaster.data.windows import Windows, gather
from forecaster.errors import ConfigError
from forecaster.evaluation.rolling_origin import Predictor
from forecaster.network.spec import ModelSpec

NAIVE2 = "naive2"
SEASONAL_NAIVE = "seasonal_naive"
USUAL = ("naive", SEASONAL_NAIVE)
NAMES = (*BASELINES, NAIVE2, *METHODS)
SEASONS = 3
"""A rival looks back over the newest `LONGEST` steps, or over so many seasons where those are
longer: enough to see how much one season differs from the next. Naive2 sees everything."""
_MOST_VALUES = 2**20
"""That a rival looks at together: a few arrays of them are a few times 8 MB."""

Forecast = Callable[[Tensor], Tensor]
"""Contexts (B, L) float64 in the units of the data to quantiles (B, H, Q)."""


def require(names: Sequence[str]) -> None:
    """Raise ConfigError for rivals that do not exist, or whose package is not installed."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError(
            [f"baselines must be among {', '.join(NAMES)}, found {', '.join(unknown)}"]
        )
    for name in names:
        if name in METHODS:
            require_package(name)
    if "markov_switching" in names and importlib.util.find_spec("statsmodels") is None:
        raise ConfigError(
            ["markov_switching requires statsmodels, which is not installed"],
            hint="pip install 'forecaster[demo]'",
        )


def rival(
    name: str, panel: Panel, spec: ModelSpec, on_windows: Callable[[int], None] = lambda _: None
) -> Predictor:
    """Return rival `name` for windows of `panel`, with the season and the horizon of `spec`.

    It looks back from their cutoffs as far as it needs, however long their contexts are.
    `on_windows` is called for windows that are done: one by one where each takes a while.
    """
    lookback = lookback_of(name, panel, spec)
    is_slow = name in METHODS
    forecast = _forecast(name, spec, on_windows if is_slow else lambda _: None)

    def of_some(rows: Tensor, cutoffs: Tensor) -> Tensor:
        offset, scale = (part[rows, None] for part in (panel.offset, panel.scale))
        context = gather(panel, rows, cutoffs, lookback).context
        quantiles = (forecast(offset + scale * context.double()) - offset[..., None]) / scale[
            ..., None
        ]
        on_windows(0 if is_slow else len(rows))
        return quantiles.float()

    def predict(windows: Windows) -> Tensor:
        chunk = max(1, _MOST_VALUES // max(1, lookback))
        pairs = zip(
            windows.rows.cpu().split(chunk), windows.cutoffs.cpu().split(chunk), strict=True
        )
        return torch.cat([of_some(*pair) for pair in pairs]).to(windows.context)

    return predict


def lookback_of(name: str, panel: Panel, spec: ModelSpec) -> int:
    """Return how many steps a rival looks back over: never fewer than the model, for fairness."""
    if name == NAIVE2:
        return panel.length
    return min(panel.length, max(LONGEST, SEASONS * spec.season_length, spec.context_length))


def _forecast(name: str, spec: ModelSpec, on_windows: Callable[[int], None]) -> Forecast:
    horizon, season = spec.prediction_length, spec.season_length
    if name in METHODS:
        seasons = (season, spec.long_season)
        return lambda values: statistical_quantiles(name, values, horizon, seasons, on_windows)
    forecast = naive2_quantiles if name == NAIVE2 else BASELINES[name]
    return lambda values: forecast(values, horizon, season)


def within(predictor: Predictor, context_length: int) -> Predictor:
    """Return a predictor that sees no more than the last `context_length` steps."""

    def predict(windows: Windows) -> Tensor:
        return predictor(replace(windows, context=windows.context[:, -context_length:]))

    return predict


def counted(predictor: Predictor, on_windows: Callable[[int], None]) -> Predictor:
    """Return a predictor that reports how many windows it has done."""

    def predict(windows: Windows) -> Tensor:
        quantiles = predictor(windows)
        on_windows(len(windows.rows))
        return quantiles

    return predict


def bounded(
    predictor: Predictor, panel: Panel, lower: float | None, upper: float | None
) -> Predictor:
    """Return a predictor whose quantiles stay between bounds in the units of the data."""
    if lower is None and upper is None:
        return predictor

    def predict(windows: Windows) -> Tensor:
        quantiles = predictor(windows)
        offset, scale = (
            part[windows.rows.cpu(), None, None] for part in (panel.offset, panel.scale)
        )
        if lower is not None:
            quantiles = torch.maximum(quantiles, ((lower - offset) / scale).to(quantiles))
        if upper is not None:
            quantiles = torch.minimum(quantiles, ((upper - offset) / scale).to(quantiles))
        return quantiles

    return predict
