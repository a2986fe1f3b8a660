"""Can the attention be trusted? The figures of `forecaster.explain.measure` on public series.

    python -m benchmarks.fidelity [m4_hourly …] [--seeds 0 1 2]

Windows lie after the training cutoff. A deletion ratio says how many times as much the forecast
moves without the k most attended patches as without k random ones; `older` leaves the newest patch
in place. Results go to benchmarks/results/fidelity-<date>.md and .json, unless `--steps` cuts the
training short.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from benchmarks.fitting import fitted
from benchmarks.protocols import TASKS, Task, Trial
from benchmarks.tables import Cell, Row, Section, keep, markdown, over_seeds
from forecaster.explain.measure import (
    agreement,
    forecast_function,
    newest_windows,
    trust,
)
from forecaster.explain.planted_test import planted_mass
from forecaster.explain.report import Removal, Trust
from forecaster.inference.checkpoint import TrainedModel

CHOSEN = ("m4_hourly", "etth1_gift_short", "bike_sharing")


def section(task: Task, seeds: Sequence[int], steps: int | None) -> Section:
    """Train one model per seed, measure each, and compare what they attend to."""
    trial = Trial(task)
    models, rows = [], []
    for seed in seeds:
        models.append(fitted(trial.known(), task.config(seed, steps)).model)
        found = trust(models[-1], trial.panel, seed=seed)
        rows.append(row(f"seed {seed}", found, planted_mass(models[-1].spec, seed=seed)))
    if len(seeds) > 1:
        mean = over_seeds(f"mean of {len(seeds)} seeds", rows)
        rows.append({**mean, **stability(models, trial)})
    about = f"{rows[0]['windows']} windows after the training cutoff"
    return Section(name=task.name, about=f"{about}.", tables=[rows])


def row(name: str, found: Trust, planted: float | None) -> dict[str, Cell]:
    """Return the figures of one model as columns of a table."""
    return {
        "forecast": name,
        "windows": found.windows,
        "reconstruction": found.reconstruction_error,
        **ratios("k", found.removals),
        **ratios("older k", found.older),
        "naopc": found.naopc,
        "planted": planted,
        "copied": found.shares.copied,
        "last value": found.shares.last_value,
        "residual": found.shares.residual,
    }


def ratios(name: str, curve: Sequence[Removal]) -> dict[str, float]:
    """Return the deletion ratio of attended to random patches by how many are removed."""
    return {f"{name}={removal.patches}": removal.ratio for removal in curve}


def stability(models: Sequence[TrainedModel], trial: Trial) -> Row:
    """Compare what models that differ in their seed alone attend to, over all pairs."""
    windows = newest_windows(trial.panel, models[0].spec)
    with torch.inference_mode():
        outputs = [forecast_function(model.network)(windows) for model in models]
    pairs = [agreement(one, other) for one, other in combinations(outputs, 2)]
    return {
        "divergence": float(np.mean([pair.divergence for pair in pairs])),
        "top 5 shared": float(np.mean([pair.overlap for pair in pairs])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=CHOSEN, metavar="task")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="train for so many steps only; keeps no results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    command, done = "python -m benchmarks.fidelity " + shlex.join(sys.argv[1:]), []
    for task in (task for task in TASKS if task.name in arguments.tasks):
        if task.absent():
            print(f"skipped {task.name}: {task.absent()}", file=sys.stderr)
            continue
        done.append(section(task, arguments.seeds, arguments.steps))
        print(markdown("Fidelity", command, done[-1:]), flush=True)
        if arguments.steps is None:
            keep("fidelity", "Fidelity", command, done)


if __name__ == "__main__":
    main()
