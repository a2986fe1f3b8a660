"""Ours beside neuralforecast and statsforecast: same windows, same scores, one run.

    make bench-peers                 (or: python -m benchmarks.peers [m4_hourly …] [--quick])

The peers live in an environment of their own: the group `peers` of pyproject.toml, exact versions
in benchmarks/constraints-peers.txt. Networks keep the defaults of their library but for the
quantile loss, the look-back (ours) and what `NETWORKS` says; MSTL and seasonal naive are refitted
at every cutoff, the networks are trained once. `--quick` takes 20 series and 30 steps and keeps no
results.
"""

import argparse
import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import torch

from benchmarks.accuracy import judged, naive
from benchmarks.fitting import fitted
from benchmarks.protocols import ETTH1_GIFT, M4, Task, Trial
from benchmarks.scores import NINE, Array
from benchmarks.tables import Cell, Row, Section, keep, markdown

TASKS = (M4, ETTH1_GIFT)
LOOK_BACK = 336
LEVELS = [20, 40, 60, 80]
"""Central intervals in percent, whose ends are the nine quantiles without the median."""

NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "LSTM": {},
    "TFT": {"windows_batch_size": 128},  # the default of 1024 windows takes gigabytes
    "NHITS": {"scaler_type": "robust"},  # the default does not scale: series of any size in one net
}
LONGEST = 14 * 168
"""Steps of history that a statistical method is fitted to."""

Settings: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long the networks train: `steps`, None for the default of each, and a limit of time."""

    steps: int | None
    minutes: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Forecasts (B, H, 9) and what they cost."""

    quantiles: Array
    costs: Mapping[str, Cell]


def frame(observations: pl.DataFrame) -> pl.DataFrame:
    """Return observations as the peers name and type them."""
    return observations.select(
        pl.col("series_id").alias("unique_id"),
        pl.col("timestamp").dt.replace_time_zone(None).alias("ds"),
        pl.col("value").alias("y"),
    )


def until(trial: Trial, end: int) -> pl.DataFrame:
    """Return what is known at a cutoff."""
    indices = trial.grid.index_of(trial.observations["timestamp"])
    return frame(trial.observations.filter(indices <= end))


def quantiles(trial: Trial, said: Mapping[int, pl.DataFrame], name: str) -> Array:
    """Return what a peer said at each cutoff as (B, H, 9), sorted along the quantiles."""
    horizon, count = trial.task.horizon, len(trial.panel)
    values = [
        forecast.sort("unique_id", "ds").select(columns(forecast, name)).to_numpy()
        for forecast in said.values()
    ]
    stacked = np.stack([each.reshape(count, horizon, len(NINE)) for each in values], axis=1)
    return np.sort(stacked.reshape(-1, horizon, len(NINE)), axis=2)


def columns(forecast: pl.DataFrame, name: str) -> list[str]:
    """Return the nine columns of a forecast: median first, then the ends of the intervals."""
    middle = next(each for each in (f"{name}-median", name) if each in forecast.columns)
    ends = [each for each in forecast.columns if each.startswith((f"{name}-lo-", f"{name}-hi-"))]
    if len(ends) != len(NINE) - 1:
        raise ValueError(f"{name} must forecast eight interval ends, found {forecast.columns}")
    return [middle, *ends]


def network(trial: Trial, name: str, budget: Budget) -> Outcome:
    """Train a network of neuralforecast once, and forecast every window."""
    started = time.process_time()
    model = _network(name, trial.task.horizon, budget)
    forecaster = _neuralforecast(model, trial.task)
    forecaster.fit(frame(trial.known()))
    trained = time.process_time()
    said = {end: forecaster.predict(df=until(trial, end)) for end in trial.ends}
    steps = len(forecaster.models[0].train_trajectories)
    return Outcome(
        quantiles=quantiles(trial, said, name),
        costs={"steps": steps, **_costs(started, trained, steps * model.windows_batch_size)},
    )


def _network(name: str, horizon: int, budget: Budget) -> Any:
    from neuralforecast import models
    from neuralforecast.losses.pytorch import MQLoss

    settings: dict[str, Any] = {
        "h": horizon,
        "input_size": LOOK_BACK,
        "loss": MQLoss(level=LEVELS),
        "random_seed": budget.seed,
        "accelerator": "cpu",
        "max_time": {"minutes": budget.minutes},
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **NETWORKS[name],
    }
    if budget.steps is not None:
        settings["max_steps"] = budget.steps
    return getattr(models, name)(**settings)


def _neuralforecast(model: Any, task: Task) -> Any:
    from neuralforecast import NeuralForecast

    return NeuralForecast(models=[model], freq=task.step)


def statistical(trial: Trial, name: str) -> Outcome:
    """Fit a method of statsforecast to the history before every window."""
    from statsforecast import StatsForecast, models

    seasons = list(trial.task.seasons)
    method = models.MSTL(seasons) if name == "MSTL" else models.SeasonalNaive(trial.task.season)
    started = time.process_time()
    said = {}
    for end in trial.ends:
        history = until(trial, end).sort("unique_id", "ds").group_by("unique_id").tail(LONGEST)
        forecaster = StatsForecast(models=[method], freq=trial.task.step, n_jobs=1)
        said[end] = forecaster.forecast(df=history, h=trial.task.horizon, level=LEVELS)
    return Outcome(
        quantiles=quantiles(trial, said, name),
        costs={"forecast_cpu_s": time.process_time() - started},
    )


def ours(trial: Trial, budget: Budget) -> Outcome:
    """Train our default configuration, and forecast every window."""
    fit = fitted(trial.known(), trial.task.config(budget.seed, budget.steps))
    started = time.process_time()
    said = trial.forecast(fit.model)
    return Outcome(
        quantiles=said,
        costs={**fit.costs(), "forecast_cpu_s": time.process_time() - started},
    )


def _costs(started: float, trained: float, windows: float) -> dict[str, Cell]:
    return {
        "train_cpu_s": trained - started,
        "windows_per_cpu_s": windows / (trained - started),
        "forecast_cpu_s": time.process_time() - trained,
    }


def outcomes(trial: Trial, budget: Budget) -> Iterator[tuple[str, Outcome]]:
    """Run everything, the quickest first."""
    runs: dict[str, Callable[[], Outcome]] = {
        "model (ours)": lambda: ours(trial, budget),
        "statsforecast SeasonalNaive": lambda: statistical(trial, "SeasonalNaive"),
        "statsforecast MSTL": lambda: statistical(trial, "MSTL"),
        "neuralforecast NHITS": lambda: network(trial, "NHITS", budget),
        "neuralforecast LSTM": lambda: network(trial, "LSTM", budget),
        "neuralforecast TFT": lambda: network(trial, "TFT", budget),
    }
    for name, run in runs.items():
        print(f"{trial.task.name}: {name}", file=sys.stderr, flush=True)
        yield name, run()


def section(task: Task, budget: Budget) -> Section:
    """Run one task; ratios are to ours, in this run."""
    trial = Trial(task)
    done = dict(outcomes(trial, budget))
    said = {name: each.quantiles for name, each in done.items()}
    costs = {name: each.costs for name, each in done.items()}
    rows = judged(trial, said, naive(trial), costs)
    rows = [with_ratios(row, rows[0]) for row in rows]
    return Section(name=task.name, about=f"{task.about}.", tables=[rows])


def with_ratios(row: Row, base: Row) -> Row:
    """Return `row` with its MASE and its processor seconds relative to `base`."""
    ratios: dict[str, Cell] = {}
    for name, key in (("mase_ratio", "mase"), ("cpu_ratio", "train_cpu_s")):
        one, other = row.get(key), base.get(key)
        if isinstance(one, float) and isinstance(other, float):
            ratios[name] = one / other
    return {**row, **ratios}


def _few(task: Task, series: int) -> Task:
    def load() -> pl.DataFrame:
        observations = task.load()
        chosen = observations["series_id"].unique().sort().head(series)
        return observations.filter(pl.col("series_id").is_in(chosen.implode()))

    return replace(task, load=load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [task.name for task in TASKS]
    parser.add_argument("tasks", nargs="*", default=names[:1], help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="20 series, 30 steps, no results")
    parser.add_argument("--minutes", type=int, default=20, help="limit of every training")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    steps = 30 if arguments.quick else None
    budget = Budget(steps=steps, minutes=arguments.minutes, seed=arguments.seed)
    command, done = "python -m benchmarks.peers " + shlex.join(sys.argv[1:]), []
    for task in (task for task in TASKS if task.name in arguments.tasks):
        done.append(section(_few(task, 20) if arguments.quick else task, budget))
        print(markdown("Peers", command, done[-1:]), flush=True)
        if not arguments.quick:
            keep("peers", "Peers", command, done)


if __name__ == "__main__":
    main()
