"""Accuracy and cost of one default configuration beside naive forecasts and published figures.

    python -m benchmarks.accuracy [m4_hourly …] [--seeds 0 1 2] [--where]

Training sees nothing after the training cutoff, and takes its validation windows from before it.
The model is not trained again on the way through the test windows. Seconds are processor seconds
of all threads, from observations in memory to the trained model, and for all forecasts.
`FORECASTER_DATA` names the folder of the data files (default: ../shared/data beside the
repository); what is not there is left out, visibly. Results go to
benchmarks/results/accuracy-<date>.md and .json, unless `--steps` cuts the training short.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from benchmarks import cost, ltsf, where
from benchmarks.fitting import fitted
from benchmarks.protocols import TASKS, Task, Trial
from benchmarks.published import PUBLISHED
from benchmarks.scores import Array, mean_forecast, nine, point, published, with_owa, wql
from benchmarks.tables import Row, Section, keep, markdown, over_seeds
from forecaster.baselines import registry
from forecaster.baselines.naive2 import naive2

FORWARD = "forward_pass"
TITLE = "Accuracy"
NAIVE = {
    "naive": False,
    "drift": False,
    "seasonal_naive": True,
    "seasonal_naive_drift": True,
    "markov_chain": False,
}
"""Forecasts without training, and whether they repeat a season. Markov switching is left out: it
takes seconds per window."""
MEMORY = 20
"""Seasons that they look back over, the longest season of the task."""


def sections(
    names: Sequence[str], seeds: Sequence[int], steps: int | None, with_where: bool
) -> Iterator[Section]:
    """Run the chosen benchmarks, one after the other."""
    for task in (task for task in TASKS if task.name in names and _present(task)):
        yield _rolling(task, seeds, steps, with_where)
    for horizon in ltsf.HORIZONS:
        task = ltsf.task(horizon)
        if task.name in names and _present(task):
            yield _section(task, [ltsf.run(horizon, seeds, steps)])
    if FORWARD in names:
        about = "untrained networks of the default shape, one thread; the least of three runs"
        yield Section(name=FORWARD, about=about, tables=[cost.run()])


def _present(task: Task) -> bool:
    reason = task.absent()
    if reason:
        print(f"skipped {task.name}: {reason}", file=sys.stderr, flush=True)
    return reason is None


def _section(task: Task, tables: Sequence[Sequence[Row]]) -> Section:
    published = PUBLISHED.get(task.name, ())
    return Section(name=task.name, about=f"{task.about}.", tables=[*tables, published])


def _rolling(task: Task, seeds: Sequence[int], steps: int | None, with_where: bool) -> Section:
    trial = Trial(task)
    costs, said = {}, {}
    for seed in seeds:
        name = f"model, seed {seed}"
        fit = fitted(trial.known(), task.config(seed, steps))
        started = time.process_time()
        said[name] = trial.forecast(fit.model)
        costs[name] = {**fit.costs(), "forecast_cpu_s": time.process_time() - started}
    together = mean_forecast(list(said.values()))
    averaged = {f"model, {len(seeds)} seeds averaged": together} if len(seeds) > 1 else {}
    rows = judged(trial, {**said, **averaged}, naive(trial), costs)
    if len(seeds) > 1:
        rows.insert(
            len(seeds), over_seeds(f"model, mean of {len(seeds)} seeds", rows[: len(seeds)])
        )
    return _section(task, [rows, *(where.tables(trial, together) if with_where else [])])


def judged(
    trial: Trial,
    said: Mapping[str, Array],
    yardsticks: Mapping[str, Array],
    costs: Mapping[str, Row],
) -> list[Row]:
    """Judge forecasts and naive ones on the points that all of them have.

    `vs_best_naive` is the MASE relative to that of the best naive forecast, less 1; with Naive2
    among them there is an OWA.
    """
    everything = {**said, **yardsticks}
    known = np.all([np.isfinite(quantiles).all(2) for quantiles in everything.values()], axis=0)
    actual = np.where(known, trial.actual, np.nan)
    scores = _scores(trial, actual, everything)
    best = min(scores[name]["mase"] for name in yardsticks if "naive" in name or name == "drift")
    if "naive2" in scores:
        scores = {name: with_owa(each, scores["naive2"]) for name, each in scores.items()}
    windows = int(np.isfinite(actual).any(1).sum())
    return [
        {
            "forecast": name,
            **scores[name],
            "vs_best_naive": round(scores[name]["mase"] / best - 1, 4) if name in said else None,
            **costs.get(name, {}),
            "windows": windows,
        }
        for name in everything
    ]


def _scores(
    trial: Trial, actual: Array, everything: Mapping[str, Array]
) -> dict[str, dict[str, float]]:
    found = trial.backtest({name: trial.said(each) for name, each in everything.items()})
    return {
        row["predictor"]: published(row, wql(actual, everything[row["predictor"]]))
        for row in found.overall().to_dicts()
    }


def naive(trial: Trial) -> dict[str, Array]:
    """Return the forecasts of a task that need no training, (B, H, 9) each; M4 has Naive2 too."""
    task = trial.task
    context = trial.context(min(trial.panel.length, MEMORY * max(*task.seasons, 24)))
    said = {}
    for name, seasons in NAIVE.items():
        for season in dict.fromkeys(task.seasons if seasons else (task.season,)):
            quantiles = registry.BASELINES[name](context, task.horizon, season)
            said[f"{name} {season}" if seasons else name] = nine(trial.values(quantiles))
    return {**said, **(_naive2(trial) if task.name == "m4_hourly" else {})}


def _naive2(trial: Trial) -> dict[str, Array]:
    horizon, season = trial.task.horizon, trial.task.season
    series = range(len(trial.panel))
    return {"naive2": point(np.stack([naive2(trial.seen(row), horizon, season) for row in series]))}


def main() -> None:
    every = [task.name for task in TASKS] + [ltsf.task(horizon).name for horizon in ltsf.HORIZONS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=[*every, FORWARD], metavar="task")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="train for so many steps only; keeps no results")
    parser.add_argument("--where", action="store_true", help="say where the error sits")
    arguments = parser.parse_args()
    unknown = set(arguments.tasks) - {*every, FORWARD}
    if unknown:
        parser.error(f"a task must be one of {', '.join([*every, FORWARD])}, found {unknown}")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    command, done = "python -m benchmarks.accuracy " + shlex.join(sys.argv[1:]), []
    for section in sections(arguments.tasks, arguments.seeds, arguments.steps, arguments.where):
        done.append(section)
        print(markdown(TITLE, command, [section]), flush=True)
        if arguments.steps is None:
            keep("accuracy", TITLE, command, done)


if __name__ == "__main__":
    main()
