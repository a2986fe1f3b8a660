"""`forecaster backfill` as a process that may be killed, and a past for it to fill."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal
from sqlalchemy import Engine, Table, func, select

from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from jobs.backfill import chunks, plan
from jobs.cli import app
from jobs.terminal.options import load
from tests.faults.ticker import die_at
from tests.jobs.small import HOUR, SCALE, World, land
from tests.jobs.terminal.terminal import NEWEST, trips
from tests.tolerance import RELATIVE, within

CONFIGURATION = """\
database_url = "{url}"
[datasets.bikes]
step = "1h"
horizon = "6h"
delay = "1h"
training = {{ steps = {steps}, batch_size = 8, device = "cpu", naive_guard = false }}
[datasets.bikes.model]
hidden_size = 8
layers = 1
heads = 2
context_length = 48
statistics = "window"
calendar = false
"""
TICKS = 72
UNTIL = NEWEST - timedelta(days=2)
"""Long ago enough that all that is said until then is judged."""
SINCE = UNTIL - (TICKS - 1) * HOUR
RANGE = ("--from", SINCE.isoformat(), "--to", UNTIL.isoformat())

FILLED = (
    tables.runs, tables.forecast_steps, tables.attention, tables.attention_patches, tables.accuracy
)  # fmt: skip
ASIDE = {
    "id", "attempt", "started_at", "finished_at", "token", "progress", "issued_at", "scored_at",
}  # fmt: skip
"""Columns that tell when and how often something was done."""
KEYS = ("job", "tick", "series_id", "cutoff", "model_id", "step", "step_from", "patch", "lead")
SMALL_CHUNK = 50
"""Rows in one transaction of a process here: four ticks of two series."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "torch._dynamo"])

Contents = Mapping[str, pl.DataFrame]


class Backfiller:
    """A process that does `forecaster backfill` in `folder`, in small transactions.

    With `point`, such as `forecasts:after`, it is killed when it gets there for the second time.
    """

    def __init__(self, folder: Path, *words: str, point: str = "") -> None:
        self._log = folder / "backfill.log"
        self._log.unlink(missing_ok=True)
        self._process = _FORKS.Process(target=_backfill, args=(folder, words, point))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it where it is."""
        self._process.kill()

    def wait(self) -> int:
        """Return how it ended: a negative number for a signal."""
        self._process.join(120)
        assert self._process.exitcode is not None
        return self._process.exitcode

    def said(self) -> str:
        """Return what it said so far, data and talk."""
        return self._log.read_text() if self._log.exists() else ""


def _backfill(folder: Path, words: Sequence[str], point: str) -> None:
    os.chdir(folder)
    log = os.open("backfill.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    chunks.ROWS = SMALL_CHUNK
    if point:
        die_at(point, nth=2)
    app(["backfill", *words])


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A dataset with days of data, in a folder with its configuration."""

    world: World
    folder: Path

    @property
    def engine(self) -> Engine:
        return self.world.engine

    def start(self, *words: str, point: str = "") -> Backfiller:
        return Backfiller(self.folder, *RANGE, *words, point=point)

    def ends(self, *words: str) -> str:
        """Do the backfill to its end; return what it said."""
        process = self.start(*words)
        assert process.wait() == 0, process.said()
        return process.said()

    def count(self, job: str = plan.JOB) -> int:
        """Return how many ticks have a run row of a job."""
        runs = tables.runs
        with reading(self.engine) as conn:
            return conn.scalar(select(func.count()).where(runs.c.job == job)) or 0

    def forget(self) -> None:
        """Undo all backfills, the models included that they trained."""
        forget(self.engine)

    def contents(self) -> Contents:
        """Return what was written."""
        return contents(self.engine)


def furnish(engine: Engine, folder: Path, *served_from: datetime, steps: int = 4) -> Past:
    """Make a past; a model was trained and put in service at each of `served_from`."""
    url = engine.url.render_as_string(hide_password=False)
    config = folder / "forecaster.toml"
    config.write_text(CONFIGURATION.format(url=url, steps=steps))
    dataset = load(config).datasets["bikes"]
    frame = pl.read_csv(trips().encode()).with_columns(
        pl.col("timestamp").str.to_datetime("%+", time_unit="us", time_zone="UTC")
    )
    land(engine, frame)
    world = World(engine=engine, dataset=dataset)
    for tick in served_from:
        assert world.tick("retrain", tick).result == "succeeded"
    return Past(world=world, folder=folder)


def forget(engine: Engine) -> None:
    """Empty the tables, but for runs of the service and models that served."""
    with writing(engine) as conn:
        for table in (tables.runs, tables.forecasts, tables.forecast_timestamps, *FILLED[2:]):
            conn.execute(_backfilled(table, table.delete()))
        conn.execute(tables.models.delete().where(tables.models.c.promoted_at.is_(None)))


def contents(engine: Engine) -> Contents:
    """Return what was forecast; models are numbered from 1 on in their order."""
    models = tables.models.c.id
    with reading(engine) as conn:
        numbers = conn.scalars(select(models).order_by(models))
        order = {each: at for at, each in enumerate(numbers, start=1)}
        rows = {
            table.name: [
                _plain(dict(row), order) for row in conn.execute(_compared(table)).mappings()
            ]
            for table in FILLED
        }
    return {name: _sorted(pl.DataFrame(found)) for name, found in rows.items()}


def wait_for(condition: Callable[[], bool]) -> None:
    """Return as soon as something is so."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def require_same(found: Contents, wanted: Contents, *, but_for: Sequence[str] = ()) -> None:
    """Assert that tables hold the same keys, and numbers that are the same but for rounding."""
    for name in wanted:
        here, there = (each[name].drop(but_for, strict=False) for each in (found, wanted))
        assert_frame_equal(here, there, rel_tol=RELATIVE, abs_tol=within(SCALE))


def _compared(table: Table) -> Any:
    return _backfilled(table, select(*(each for each in table.c if each.name not in ASIDE)))


def _backfilled(table: Table, statement: Any) -> Any:
    return statement.where(table.c.job.like("backfill%")) if table is tables.runs else statement


def _plain(found: dict[str, Any], order: Mapping[int, int]) -> dict[str, Any]:
    if "model_id" in found:
        found["model_id"] = order[found["model_id"]]
    if isinstance(weights := found.get("weights"), str):
        found["weights"] = json.loads(weights)
    if report := found.get("report"):
        named = {"model_id": order[report["model_id"]]}
        found["report"] = json.dumps({**report, "scores": None, **named}, sort_keys=True)
    return found


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort([name for name in KEYS if name in frame.columns])
