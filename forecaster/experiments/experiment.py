"""An experiment: train on the past, then forecast the test windows with model and baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from forecaster.config.settings import DatasetConfig
from forecaster.evaluation.cutoffs import BacktestWindows
from forecaster.evaluation.rolling_origin import Backtest, joined
from forecaster.experiments.stage import Listener, Prepared, Stage, StageResult, Trained
from forecaster.training.validation import MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The result of an experiment."""

    prepared: Prepared
    """What there was before the first training."""
    backtest: Backtest
    scaled: Backtest
    """The same without series that had never moved: their past gives no unit for errors."""
    still: Sequence[str]
    """The series that `scaled` lacks, some of them only before they moved."""
    trainings: Sequence[Trained]
    left_out: Mapping[str, str]
    """Series of which no point was scored, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How an experiment trains: before each turn if `refit`, and several times from seeds."""

    refit: bool = False
    seeds: int = 1
    """Trainings of each model, from seeds that follow one another; each is a predictor."""


def run(
    observations: pl.DataFrame,
    cutoffs: BacktestWindows,
    dataset: DatasetConfig,
    names: Sequence[str],
    *,
    plan: TrainingPlan | None = None,
    listener: Listener | None = None,
) -> Experiment:
    """Forecast OBSERVATIONS at `cutoffs` with a model and the rivals `names`.

    The model is trained once, on what lies before the first window of every series, or again before
    each turn. InsufficientHistory where that is too little, TrainingDiverged; whatever
    `watch.prepared` raises ends it before anything is trained.
    """
    plan, listener = plan or TrainingPlan(), listener or Listener()
    turns = range(cutoffs.turns) if plan.refit else [None]
    parts: list[StageResult] = []
    for turn in turns:
        stage = Stage(observations, cutoffs, dataset, turn, listener)
        if not parts:
            prepared = stage.prepared()
            listener.prepared(prepared)
        parts.append(stage.run(names, seeds(dataset, plan.seeds)))
    backtest = joined([part.backtest_result for part in parts])
    scored = set(backtest.sums["series_id"].unique())
    reasons = dict(cutoffs.left_out)
    for part in parts:
        reasons |= part.unscored
    return Experiment(
        prepared=prepared,
        backtest=backtest,
        scaled=joined([part.scaled for part in parts]),
        still=tuple(sorted(scored.intersection(name for part in parts for name in part.still))),
        trainings=[training for part in parts for training in part.trained],
        left_out={name: why for name, why in sorted(reasons.items()) if name not in scored},
    )


def seeds(dataset: DatasetConfig, count: int) -> dict[str, int]:
    """Return the seed of each predictor that is a model; an ensemble takes several each."""
    config = dataset.training
    values = [config.seed + place * config.ensemble for place in range(count)]
    return {MODEL: values[0]} if count == 1 else {f"{MODEL} {seed}": seed for seed in values}
