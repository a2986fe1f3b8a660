"""What `retrain` takes in memory, of all of the history and of a sample of it, and what a sample
costs in accuracy.

    python -m benchmarks.retrain [memory accuracy threads] [--series 5000 20000] [--seeds 0 1 2]

Memory: a SQLite store of hourly series with 2 000 points each, and a process of its own for every
run; the training is cut short, which changes its time alone. Accuracy: M4 Hourly with all of its
points and with a part of them. Threads: one training with one and with two, alternately.
`FORECASTER_DATA` names the folder of the data files. Results go to
benchmarks/results/retrain-<part>-<date>.md and .json.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program does, before torch

import polars as pl
import psutil
import torch

from benchmarks.accuracy import judged, naive
from benchmarks.fleet import Fleet
from benchmarks.protocols import TASKS, Trial
from benchmarks.tables import Row, Section, keep, markdown, over_seeds
from forecaster.config.settings import TrainingConfig
from forecaster.data.panel import build
from forecaster.inference.checkpoint import TrainedModel
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.maintenance import migrations
from forecaster.store.observations import observations
from forecaster.store.state import runs
from forecaster.times.durations import MICROSECOND
from forecaster.training import estimator, preparation
from forecaster.training.history_sample import draw, newest_steps
from jobs import retrain
from jobs.execution.attempt import Attempt
from jobs.training_process.parent import fit_in_child

PARTS = ("memory", "threads", "accuracy")
TITLE = "Retraining on a sample"
POINTS = 2_000
SHORT = 20
"""Steps of the trainings whose memory is measured."""
EVERYTHING = 10**9
EVERY_SECONDS = 0.02
SHARES = (1.0, 0.75, 0.5)
THREADS, ROUNDS, THREAD_STEPS = (1, 2), 3, 60


def memory(series: Sequence[int]) -> Iterator[Row]:
    """Retrain on stores of so many series, with the default and with everything or a quarter."""
    usual = TrainingConfig().max_points
    for count in series:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'store.db'}"
            fill(url, Fleet(series=count, context=POINTS))
            for most in dict.fromkeys((count * POINTS // 4, usual)):
                command = [sys.executable, "-m", "benchmarks.retrain", "--one", url]
                command += ["--series", str(count), "--max-points", str(most)]
                yield json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def fill(url: str, fleet: Fleet) -> None:
    """Land the history, some series at a time."""
    engine = open_engine(url)
    migrations.upgrade(engine)
    for frame in fleet.history():
        with writing(engine) as conn:
            observations.ingest(conn, fleet.dataset.name, frame, recorded_at=fleet.end)
    engine.dispose()


def one(url: str, fleet: Fleet, max_points: int) -> Row:
    """Retrain once, and return what it took."""
    engine, started = open_engine(url), time.perf_counter()
    training = TrainingConfig(steps=SHORT, max_points=max_points, device="cpu")
    dataset = replace(fleet.dataset, query=None, training=training)
    tick = fleet.end + max_points * MICROSECOND  # one of its own for every run
    with writing(engine) as conn:
        claim = runs.claim(conn, "retrain", dataset.name, tick, tick)
    attempt = Attempt(tick=tick, claim=claim, clock=lambda: tick)
    with Peaks() as peaks:
        report = retrain.run(engine, dataset, attempt, fit=fit_in_child)
    return {
        "series": fleet.series,
        "max_points": max_points,
        "trained on": report.series,
        **{f"{who} MB": round(size / 1e6) for who, size in peaks.sizes.items()},
        "read s": report.stages["read"],
        "s": time.perf_counter() - started,
    }


class Peaks:
    """The most resident memory of this process, of its children, and of all together."""

    def __init__(self) -> None:
        self.sizes = {"parent": 0, "child": 0, "together": 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Peaks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(EVERY_SECONDS):
            parent = me.memory_info().rss
            child = sum(_resident(process) for process in me.children())
            for who, size in zip(self.sizes, (parent, child, parent + child), strict=True):
                self.sizes[who] = max(self.sizes[who], size)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss) if "training_process" in str(process.cmdline()) else 0
    except psutil.Error:  # it has ended
        return 0


def accuracy(seeds: Sequence[int]) -> Iterator[Row]:
    """Score M4 Hourly with models of a share of its points, in one run."""
    task = next(task for task in TASKS if task.name == "m4_hourly")
    trial = Trial(task)
    yardsticks = naive(trial)
    for share in SHARES:
        rows = []
        for seed in seeds:
            model, about = fitted(trial, seed, share)
            name = f"{share:.0%} of the points, seed {seed}"
            scores = judged(trial, {name: trial.forecast(model)}, yardsticks, {})[0]
            rows.append({**scores, **about})
            yield rows[-1]
        if len(rows) > 1:
            yield over_seeds(f"{share:.0%} of the points, mean of {len(rows)} seeds", rows)


def fitted(trial: Trial, seed: int, share: float) -> tuple[TrainedModel, Row]:
    """Train on the sample that `retrain` would draw; every series keeps its scale."""
    known, config = trial.known(), trial.task.config(seed)
    steps = trial.train_end - trial.panel.start + 1
    keys = known.select(key=pl.col("series_id").unique().sort()).with_row_index("id")
    keys = keys.with_columns(pl.col("id").cast(pl.Int32))
    most = round(share * len(keys) * steps)
    training = replace(config.training, max_points=most)
    newest = newest_steps(steps, len(keys), most)
    first = trial.grid.timestamp_at(trial.train_end - newest + 1)
    read = known.filter(pl.col("timestamp") >= first)
    cells = read.with_columns(pl.col("series_id").replace_strict(keys["key"], keys["id"]))
    sample = draw([cells], keys, steps=newest, config=training)
    kept = keys.filter(pl.col("id").is_in(sample.kept.implode()))["key"]
    panel, spec = preparation.prepare(
        read.filter(pl.col("series_id").is_in(kept.implode())), config
    )
    model = estimator.fit(panel, spec, config.training).model
    every = build(read, panel.grid, season_length=spec.season_length)
    scales = dict(zip(every.series_ids, every.scale.tolist(), strict=True))
    about = {"series": len(panel), "steps": newest, "observations": sample.cells.height}
    return replace(model, series_scale={**scales, **model.series_scale}), about


def threads() -> Iterator[Row]:
    """Train with one thread and with two, alternately."""
    task = next(task for task in TASKS if task.name == "m4_hourly")
    config = task.config(0, THREAD_STEPS)
    panel, spec = preparation.prepare(task.load(), config)
    for number in range(ROUNDS):
        for count in THREADS:
            torch.set_num_threads(count)
            started, worked = time.perf_counter(), time.process_time()
            result = estimator.fit(panel, spec, config.training)
            seconds = time.perf_counter() - started
            yield {
                "round": number + 1,
                "threads": count,
                "windows/s": result.windows_per_second * result.seconds / seconds,
                "s": seconds,
                "cpu_s": time.process_time() - worked,
                "load": os.getloadavg()[0],
            }
    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="part")
    parser.add_argument("--series", nargs="+", type=int, default=[5_000, 20_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--one", metavar="URL", help="measure one retraining; used by memory")
    parser.add_argument("--max-points", type=int, default=EVERYTHING)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if chosen.one:
        fleet = Fleet(series=chosen.series[0], context=POINTS)
        print(json.dumps(one(chosen.one, fleet, chosen.max_points)))
        return
    command = "python -m benchmarks.retrain " + shlex.join(sys.argv[1:])
    for part in chosen.parts:
        done = [section(part, chosen.series, chosen.seeds)]
        print(markdown(TITLE, command, done), flush=True)
        keep(f"retrain-{part}", TITLE, command, done)


def section(part: str, series: Sequence[int], seeds: Sequence[int]) -> Section:
    """Run one part."""
    if part == "memory":
        about, rows = f"{POINTS} points of each series, SQLite.", memory(series)
    elif part == "threads":
        about, rows = f"{THREAD_STEPS} steps on M4 Hourly, alternately.", threads()
    else:
        about, rows = "M4 Hourly, by the share of its points that is kept.", accuracy(seeds)
    return Section(name=part, about=about, tables=[list(rows)])


if __name__ == "__main__":
    main()
