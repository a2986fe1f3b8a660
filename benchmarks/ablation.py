"""What each part is worth: one setting changed at a time, judged on validation windows.

    python -m benchmarks.ablation [--arms default 'encoder gru' …] [--steps 600] [--seeds 0]

The test windows of the data sets are never touched: the windows judged here are the last of what
training may see in `benchmarks/accuracy.py`, and training ends before them. Results go to
benchmarks/results/ablation-<date>.md and .json.
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch

from benchmarks.fitting import fitted
from benchmarks.protocols import ETTH1_GIFT, M4, Task, Trial
from benchmarks.tables import Row, Section, keep, markdown, over_seeds
from forecaster.config.settings import DatasetConfig
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.device import CPU, Runner
from forecaster.training import masking, regimes
from forecaster.training.validation import MODEL, predictor

TASKS = (replace(M4, test=48), replace(ETTH1_GIFT, test=48 * 10))
DEFAULT = "default"
SCORES = ("mase", "smape", "wql", "coverage_80")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One change: of settings, or of constants (module, name, value) that are no setting."""

    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    constants: Sequence[tuple[ModuleType, str, Any]] = ()

    def config(self, task: Task, seed: int, steps: int | None) -> DatasetConfig:
        """Return the default configuration of `task` with this change."""
        config = task.config(seed, steps)
        return replace(
            config,
            model=replace(config.model, **self.model),
            training=replace(config.training, **self.training),
        )


ARMS: Mapping[str, Arm] = {
    DEFAULT: Arm(),
    "encoder gru": Arm(model={"encoder": "gru"}),
    "encoder rnn": Arm(model={"encoder": "rnn"}),
    "one encoder layer": Arm(model={"layers": 1}),
    "hidden size 32": Arm(model={"hidden_size": 32}),
    "hidden size 128": Arm(model={"hidden_size": 128}),
    **{
        f"score {score}": Arm(model={"score": score})
        for score in ("dot", "general", "additive", "location", "local")
    },
    "normaliser sparsemax": Arm(model={"normaliser": "sparsemax"}),
    "normaliser entmax15": Arm(model={"normaliser": "entmax15"}),
    "one attention head": Arm(model={"heads": 1}),
    "self-attention": Arm(model={"self_attention": True}),
    "newest 7 patches only": Arm(model={"attention_window": 7}),
    "window statistics": Arm(model={"statistics": "window"}),
    "causal statistics": Arm(model={"statistics": "causal"}),
    "told the time": Arm(model={"calendar": True}),
    "not told the time": Arm(model={"calendar": False}),
    "head student_t": Arm(model={"head": "student_t"}),
    "head gaussian_mixture": Arm(model={"head": "gaussian_mixture"}),
    "half patches": Arm(model={"patch_length": 12}),
    "no dropout": Arm(model={"dropout": 0.0}),
    "nothing hidden in training": Arm(constants=[(masking, "HIDDEN_SHARE", 0.0)]),
    "no gaps in training": Arm(
        constants=[(masking, "GAP_SHARE", 0.0), (masking, "HOLE_SHARE", 0.0)]
    ),
    "no changes of habit in training": Arm(constants=[(regimes, "CHANGED_SHARE", 0.0)]),
    "three networks averaged": Arm(training={"ensemble": 3}),
}


@contextmanager
def constant(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Give a constant of a module another value for a while; AttributeError if it has none."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def validation(task: Task) -> Task:
    """Return the task of forecasting the last windows of what training may see in `task`."""
    known = Trial(task).known()
    return replace(task, load=lambda: known)


def run(arm: Arm, trial: Trial, seed: int, steps: int | None) -> Row:
    """Train one arm and judge it on the windows of `trial`."""
    with ExitStack() as changes:
        for module, name, value in arm.constants:
            changes.enter_context(constant(module, name, value))
        fit = fitted(trial.known(), arm.config(trial.task, seed, steps))
        started = time.process_time()
        scores = judged(trial, fit.model)
        seconds = time.process_time() - started
    return {**scores, **fit.costs(), "forecast_cpu_s": seconds}


def judged(trial: Trial, model: TrainedModel) -> dict[str, float]:
    """Return `SCORES` of what `model` says in service, as retraining judges it."""
    serving = predictor(Runner(model.network, CPU), model.fallback)
    found = trial.backtest({MODEL: serving}, context_length=model.spec.context_length).of(MODEL)
    return {name: math.nan if found is None else found[name] for name in SCORES}


def rows(names: Sequence[str], trial: Trial, seeds: Sequence[int], steps: int | None) -> list[Row]:
    """Run arms on one task: a row per arm, over all seeds, and its MASE against the default."""
    found: list[Row] = []
    for name in names:
        each = [run(ARMS[name], trial, seed, steps) for seed in seeds]
        found.append({"arm": name, **(over_seeds(name, each) if len(each) > 1 else each[0])})
        print(f"{trial.task.name}: {name}: {found[-1]}", file=sys.stderr, flush=True)
    return [{**row, "mase_vs_default": _change(row, found[0])} for row in found]


def _change(row: Row, base: Row) -> float:
    one, other = (
        value.mean if isinstance(value := each["mase"], tuple) else value for each in (row, base)
    )
    assert isinstance(one, float)
    assert isinstance(other, float)
    return one / other - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="arm")
    parser.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, help="of every training; the default is the model's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    names = list(dict.fromkeys([DEFAULT, *arguments.arms]))
    command, done = "python -m benchmarks.ablation " + shlex.join(sys.argv[1:]), []
    for task in (task for task in TASKS if task.name in arguments.tasks):
        reason = task.absent()
        if reason:
            print(f"skipped {task.name}: {reason}", file=sys.stderr)
            continue
        trial = Trial(validation(task))
        about = f"the last {len(trial.ends)} windows before the test windows, never those"
        tables = [rows(names, trial, arguments.seeds, arguments.steps)]
        done.append(Section(name=task.name, about=f"{about}.", tables=tables))
        print(markdown("Ablation", command, done[-1:]), flush=True)
        keep("ablation", "Ablation", command, done)


if __name__ == "__main__":
    main()
