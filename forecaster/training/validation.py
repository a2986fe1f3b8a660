"""Validation: how good a model is on windows it has not learnt from, and whether naive is better.

All windows inside the part held out are looked at, not one per prediction length: on etth1 the
error then falls smoothly over a training, where ten windows a series go up and down by 3 %.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from forecaster.data.panel import Panel
from forecaster.data.windows import Windows
from forecaster.evaluation.rolling_origin import Backtest, Predictor, backtest, points
from forecaster.inference.device import Runner
from forecaster.inference.eligibility import FORECAST, classify
from forecaster.inference.naive_fallback import FALLBACKS, served
from forecaster.network.ensemble import Network
from forecaster.network.spec import ModelSpec
from forecaster.training.holdout import HoldOut

MOST_WINDOWS, MOST_ON_THE_WAY = 4096, 512
"""Enough to evaluate a model at the end, and during training; more would only cost time."""
MODEL = "model"
MARGIN = 0.01
"""A naive forecast serves where its error is less than the model's by more than this share."""
NEXT_TO_NOTHING = 0.1
"""Of the seasonal error: a model this good stays, so that a clean season keeps its attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Accuracy of what is served on the validation windows (`forecaster.evaluation.metrics`)."""

    mase: float
    seasonal_naive_mase: float
    wql: float
    coverage_80: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationResult:
    """What validation found; None and no fallback where no value could be evaluated."""

    scores: Scores | None = None
    fallback: str | None = None
    """The naive forecast that is to serve in place of the network."""
    notes: tuple[str, ...] = ()


class Validation:
    """The windows of a panel that are held out, on its device."""

    def __init__(self, panel: Panel, holdout: HoldOut) -> None:
        self._panel = panel
        pairs = holdout.pairs(panel).to(panel.deviations.device)
        self._pairs = _sample(pairs, MOST_WINDOWS)

    def error(self, network: Network) -> float:
        """Return the mean absolute scaled error of the median; infinite where there is none."""
        if len(self._pairs) == 0:
            return math.inf
        device = self._panel.deviations.device
        few = _sample(self._pairs, MOST_ON_THE_WAY)
        predictors = {MODEL: predictor(Runner(network, device))}
        accuracy = self._backtest(predictors, network.spec, few).of(MODEL)
        network.to(device)  # a runner short of memory leaves it on the CPU, and it is to learn on
        return math.inf if accuracy is None else accuracy["mase"]

    def evaluate(self, network: Network, *, guarded: bool) -> ValidationResult:
        """Score `network`; where `guarded`, a naive forecast that beats it clearly takes over."""
        if len(self._pairs) == 0:
            return ValidationResult()
        spec, runner = network.spec, Runner(network, self._panel.deviations.device)
        naive = {name: _naive(name, spec) for name in FALLBACKS}
        result = self._backtest({MODEL: predictor(runner), **naive}, spec, self._pairs)
        fallback = _better_naive(result) if guarded else None
        if fallback is None:
            return ValidationResult(scores=_scores(result))
        serving = {MODEL: predictor(runner, fallback)}
        return ValidationResult(
            scores=_scores(self._backtest(serving, spec, self._pairs)),
            fallback=fallback,
            notes=(_note(_errors(result), fallback),),
        )

    def _backtest(
        self, predictors: Mapping[str, Predictor], spec: ModelSpec, pairs: Tensor
    ) -> Backtest:
        return backtest(
            predictors,
            self._panel,
            pairs,
            context_length=spec.context_length,
            prediction_length=spec.prediction_length,
            season_length=spec.season_length,
        )


def predictor(runner: Runner, fallback: str | None = None) -> Predictor:
    """Return the predictor of a model in service: NaN where a series would be skipped."""

    def predict(windows: Windows) -> Tensor:
        output = runner(windows.context, windows.cutoffs)
        output = served(output, windows.context, fallback, runner.spec)
        skipped = classify(windows, runner.spec) != FORECAST
        quantiles = output.level[:, None, None] + output.deviations
        return quantiles.masked_fill(skipped[:, None, None], torch.nan)

    return predict


def _naive(name: str, spec: ModelSpec) -> Predictor:
    return points(lambda context: FALLBACKS[name](context, spec))


def _sample(pairs: Tensor, most: int) -> Tensor:
    """Return at most so many of the pairs, always the same ones and from all over."""
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    return pairs[order[:most].sort().values.to(pairs.device)]


def _errors(backtest: Backtest) -> dict[str, float]:
    """Return the mean absolute scaled error of each predictor."""
    overall = backtest.overall()
    return dict(zip(overall["predictor"], overall["mase"], strict=True))


def _better_naive(backtest: Backtest) -> str | None:
    errors = _errors(backtest)
    of_model = errors.pop(MODEL, None)
    if of_model is None or of_model < NEXT_TO_NOTHING:
        return None
    best = min(FALLBACKS, key=errors.__getitem__)
    return best if errors[best] < (1 - MARGIN) * of_model else None


def _note(errors: Mapping[str, float], fallback: str) -> str:
    return (
        f"{fallback} is used instead of the network: its MASE on validation windows is "
        f"{errors[fallback]:.4g}, that of the network {errors[MODEL]:.4g}"
    )


def _scores(backtest: Backtest) -> Scores | None:
    of_model = backtest.of(MODEL)
    if of_model is None:
        return None
    return Scores(**{field.name: of_model[field.name] for field in fields(Scores)})
