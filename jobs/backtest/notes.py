"""The setting and the results of a backtest, in sentences."""

from collections.abc import Iterator, Mapping

import polars as pl

from forecaster.experiments.stage import Trained
from forecaster.training.validation import MODEL
from jobs.backtest.plan import Fact, left_out, plan_notes, season, setting, still
from jobs.backtest.run import Outcome
from jobs.backtest.summary import number

SPREAD = ("mase", "owa", "smape", "wql")
"""Metrics whose standard deviation over several seeds is reported."""


def facts(outcome: Outcome) -> list[Fact]:
    """Return what was tested, and how: labels with a sentence each."""
    plan = outcome.plan
    settings = dict(setting(plan)) | {"season": season(plan, outcome.trainings[-1].spec)}
    errors = dict(outcome.overall.select("predictor", "mase").iter_rows())
    return [
        *settings.items(),
        ("training", _training(outcome)),
        ("model", _model(outcome.trainings[-1])),
        *(("note", text) for text in (*plan_notes(plan), *outcome.notes)),
        ("scored", _scored(outcome)),
        *(("note", text) for text in still(outcome.still)),
        *(("left out", text) for text in left_out(outcome.left_out)),
        *(("seeds", text) for text in _seeds(outcome)),
        ("result", verdict(errors)),
    ]


def _training(outcome: Outcome) -> str:
    trainings = outcome.trainings
    device = ", ".join(dict.fromkeys(training.result.device for training in trainings))
    steps = sum(training.result.steps for training in trainings)
    planned = sum(max(training.planned, training.result.steps) for training in trainings)
    taken = f"{steps:,} steps" if steps == planned else f"{steps:,} of {planned:,} steps"
    times = f"{len(trainings)} trainings, {taken}" if len(trainings) > 1 else taken
    seeds = outcome.plan.seeds
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    return f"{times} in {outcome.seconds:.0f} s on {device}, {named}"


def _model(training: Trained) -> str:
    spec, scores = training.spec, training.result.validation
    variant = (
        f"{spec.statistics} statistics, {'with' if spec.calendar else 'without'} calendar features"
    )
    if scores is None:
        return f"{variant}; no validation windows, as the history is too short"
    return (
        f"{variant}; MASE on validation windows {number('mase', scores.mase)}, "
        f"seasonal_naive {number('mase', scores.seasonal_naive_mase)}"
    )


def _scored(outcome: Outcome) -> str:
    points = outcome.overall["points"][0]
    missing = {name: count for name, count in outcome.backtest.missing.items() if count}
    text = (
        f"{points:,} points of {outcome.backtest.windows:,} forecasts, the same for every predictor"
    )
    if missing:
        counts = ", ".join(f"{count:,} by {name}" for name, count in missing.items())
        text += f"; missing forecasts are left out: {counts}"
    return text


def _seeds(outcome: Outcome) -> Iterator[str]:
    """Report the mean and standard deviation of each metric over the seeds."""
    table = outcome.by_seed
    if table.is_empty():
        return
    names = [name for name in SPREAD if name in table.columns]
    means, spreads = (table.select(how).row(0, named=True) for how in
                      (pl.col(names).mean(), pl.col(names).std()))  # fmt: skip
    metrics = ", ".join(
        f"{name.upper() if name != 'smape' else 'sMAPE'} {number(name, means[name])} "
        f"± {number(name, spreads[name])}"
        for name in names
    )
    yield f"{len(table)} trainings: {metrics} (mean and standard deviation)"


def verdict(errors: Mapping[str, float | None]) -> str:
    """Return a sentence that compares the model with the best baseline, by MASE."""
    known = {name: error for name, error in errors.items() if error is not None}
    if MODEL not in known:
        return "no MASE: all series were constant before the windows"
    own = known.pop(MODEL)
    best, rival = min((error, name) for name, error in known.items())
    if number("mase", own) == number("mase", best):
        return f"same MASE as {rival}, the best baseline"
    if own < best:
        return f"MASE {1 - own / best:.0%} lower than {rival}, the best baseline"
    if number("mase", best) == number("mase", 0.0):
        return f"MASE higher than {rival}, whose MASE is 0"
    if own < 2 * best:
        return f"MASE {own / best - 1:.0%} higher than {rival}, the best baseline"
    return f"MASE {own / best:.1f} times that of {rival}, the best baseline"
