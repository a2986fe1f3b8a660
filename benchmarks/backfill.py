"""Backfills: many cutoffs in one batch beside one tick at a time, and beside what the parts cost.

    python -m benchmarks.backfill [--few 10000] [--many 1000]

Few: 10 series, as many hourly cutoffs as `--few`, on both stores, against the jobs `forecast` and
`score` run tick by tick on the same database. Many: 1 000 series on PostgreSQL, against the forward
pass alone on as many contexts, and the server's own COPY of the same rows. Each backfill runs in a
process of its own, whose memory is measured.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program does, before torch

from sqlalchemy import Engine

from benchmarks.big_tick import forward
from benchmarks.fleet import HOUR, START, Fleet
from benchmarks.server import copy_in, execute, running
from benchmarks.tables import Row, Section, keep
from forecaster.config.settings import Config, DatasetConfig, RetentionConfig
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.maintenance import migrations
from forecaster.store.observations import observations
from forecaster.store.state import models
from jobs import catalog
from jobs.backfill.plan import BackfillRequest
from jobs.backfill.run import Work, run
from jobs.execution.job import Job
from jobs.execution.runner import run_job
from jobs.retrain import fit_here
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache
from jobs.terminal.cpu_settings import flush_denormals, share
from tests.postgres import Cluster

CONTEXT = 336
SINGLE = 60
"""Ticks that are run one by one; the first ten warm up."""
BLOCK_ROWS = 2_000_000
KEPT = RetentionConfig(forecasts=None, attention=None, accuracy=None)
TABLES = ("forecasts", "attention", "accuracy")
GOALS = {"few": 20.0, "many": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """So many series, so many hourly cutoffs."""

    series: int
    cutoffs: int

    @property
    def fleet(self) -> Fleet:
        return Fleet(series=self.series, context=CONTEXT)

    @property
    def dataset(self) -> DatasetConfig:
        """Whose rows were landed long ago: nothing is pulled, and all is known in time."""
        return replace(self.fleet.dataset, query=None)

    @property
    def end(self) -> datetime:
        """The last tick of the range."""
        return self.fleet.end + (self.cutoffs - 1) * HOUR

    def fill(self, engine: Engine) -> None:
        """Land the history, the range and the ticks after it; put a model in service."""
        fleet, total = self.fleet, CONTEXT + self.cutoffs + SINGLE
        migrations.upgrade(engine)
        at_once = max(1, BLOCK_ROWS // total)
        for first in range(0, self.series, at_once):
            frame = fleet.rows(fleet.names[first : first + at_once], 0, total)
            with writing(engine) as conn:
                observations.ingest(conn, self.dataset.name, frame, recorded_at=START)
        with writing(engine) as conn:
            model_id = models.add(conn, self.dataset.name, fleet.model())
            models.promote(conn, self.dataset.name, model_id, now=START, reason="benchmark")


def backfill(url: str, case: Case, jobs: int) -> Row:
    """Backfill the range; measured in this process."""
    flush_denormals()
    share(jobs)
    engine = open_engine(url)
    work = Work(
        engine=engine,
        dataset=case.dataset,
        retention=KEPT,
        fit=fit_here,
        clock=lambda: case.end + SINGLE * HOUR,
        jobs=jobs,
    )
    started = time.perf_counter()
    report = run(work, BackfillRequest(since=case.fleet.end, until=case.end))
    seconds = time.perf_counter() - started
    engine.dispose()
    return {
        "backfill s": seconds,
        "ticks": report.ticks,
        "rows": report.rows,
        "rows/s": report.rows / seconds,
        "rss MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_process(url: str, case: Case, jobs: int = 1) -> dict[str, Any]:
    """Backfill in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.backfill", "--url", url, "--jobs", str(jobs)]
    command += ["--series", str(case.series), "--cutoffs", str(case.cutoffs)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def one_by_one(engine: Engine, case: Case) -> dict[str, float]:
    """Return the median seconds of each job, run tick by tick after the range."""
    share(1)
    made = catalog.jobs(
        Config(database_url="", datasets={case.dataset.name: case.dataset}, retention=KEPT),
        champions=Champions(),
        panels=PanelCache(),
        fit=fit_here,
    )
    found: dict[str, list[float]] = {"forecast": [], "score": []}
    for number in range(1, SINGLE + 1):
        tick = case.end + number * HOUR
        for name, seconds in found.items():
            seconds.append(_timed(engine, case, made[name], tick))
    return {name: statistics.median(seconds[10:]) for name, seconds in found.items()}


def _timed(engine: Engine, case: Case, job: Job, tick: datetime) -> float:
    started = time.perf_counter()
    outcome = run_job(
        job,
        engine,
        case.dataset,
        tick=tick,
        clock=lambda: tick + timedelta(seconds=1),
        observe=lambda _: None,
    )
    assert outcome.result == "succeeded", outcome.error
    return time.perf_counter() - started


def few(url: str, case: Case) -> Row:
    """Compare a backfill of few series with its ticks run one by one."""
    engine = open_engine(url)
    case.fill(engine)
    _vacuum(url)
    found = in_process(url, case)
    single = one_by_one(engine, case)
    engine.dispose()
    seconds, each = found["backfill s"], 1000 * found["backfill s"] / case.cutoffs
    both = (single["forecast"] + single["score"]) * case.cutoffs / seconds
    return {
        "cutoffs": case.cutoffs,
        "backfill s": seconds,
        "ms a tick": each,
        "rss MB": found["rss MB"],
        "forecast ms": 1000 * single["forecast"],
        "score ms": 1000 * single["score"],
        "times faster": both,
        "than forecast alone": single["forecast"] * case.cutoffs / seconds,
        "goal": GOALS["few"],
    }


def many(cluster: Cluster, url: str, case: Case, jobs: int) -> Row:
    """Compare a backfill of many series with the forward pass and COPY alone."""
    engine = open_engine(url)
    case.fill(engine)
    engine.dispose()
    _vacuum(url)
    found = in_process(url, case, jobs)
    share(1)
    passes = forward(Fleet(series=min(65_536, case.series * case.cutoffs), context=CONTEXT))
    passes *= max(1.0, case.series * case.cutoffs / 65_536)
    copies = {table: _copied(cluster, url, case, table) for table in TABLES}
    limit = passes + sum(copies.values())
    return {
        "cutoffs": case.cutoffs,
        "jobs": jobs,
        "rows": found["rows"],
        "backfill s": found["backfill s"],
        "rss MB": found["rss MB"],
        "forward pass s": passes,
        **{f"COPY {table} s": seconds for table, seconds in copies.items()},
        "limits s": limit,
        "ratio": found["backfill s"] / limit,
        "goal": GOALS["many"],
    }


def _copied(cluster: Cluster, url: str, case: Case, table: str) -> float:
    """Return how long COPY takes for the rows of a table; of a tenth of many, ten times that."""
    part = 10 if case.cutoffs >= 1000 else 1
    until = case.fleet.end + (case.cutoffs // part) * HOUR
    query = f"SELECT * FROM {table} WHERE cutoff < '{until.isoformat()}'"
    return part * copy_in(cluster, url, table, query, repeats=1)


def _vacuum(url: str) -> None:
    if url.startswith("postgres"):
        execute(url, "VACUUM ANALYZE")


@contextmanager
def sqlite() -> Iterator[str]:
    """Give the address of a file that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'backfill.db'}"


def sections(chosen: argparse.Namespace) -> Iterator[Section]:
    """Measure what was asked for."""
    with running() as cluster:
        small = Case(series=10, cutoffs=chosen.few)
        with sqlite() as url:
            rows: list[Row] = [{"store": "SQLite", **few(url, small)}]
        rows.append({"store": "PostgreSQL", **few(cluster.create_database("few"), small)})
        yield Section(
            name="Few series, many cutoffs",
            about="10 series, 48 steps, context 336; ticks one by one: median of 50.",
            tables=[rows],
        )
        large = []
        for cutoffs in sorted({max(1, chosen.many // 4), chosen.many}):
            url = cluster.create_database(f"many{cutoffs}")
            large.append(many(cluster, url, Case(series=1000, cutoffs=cutoffs), chosen.jobs))
            cluster.drop_database(url)
        yield Section(
            name="Many series, PostgreSQL",
            about="1 000 series, 48 steps, context 336, forecasts, attention and accuracy; "
            "as many threads for the network in both.",
            tables=[large],
        )


def main() -> None:
    """Measure, print and keep; with --url: one backfill, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=10_000, help="cutoffs of 10 series")
    parser.add_argument("--many", type=int, default=1_000, help="cutoffs of 1 000 series")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--url")
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--cutoffs", type=int, default=1000)
    chosen = parser.parse_args()
    if chosen.url:
        case = Case(series=chosen.series, cutoffs=chosen.cutoffs)
        print(json.dumps(backfill(chosen.url, case, chosen.jobs)))
        return
    flush_denormals()
    command = f"python -m benchmarks.backfill --few {chosen.few} --many {chosen.many}"
    keep("backfill", "Backfills", command, list(sections(chosen)))


if __name__ == "__main__":
    main()
