"""What a lane does when its alarm rings: every tick that is due, oldest first.

What is due is read from the `runs` table: ticks after the last one on record, and ticks that
failed or were left running by a process that died. What fails is tried again, less and less often.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine

from forecaster.config import DatasetConfig
from forecaster.errors import DatabaseUnavailable
from forecaster.store import runs
from forecaster.store.engine import reading, writing
from forecaster.store.runs import Run
from jobs.catalog import Job
from jobs.runner import Observe, Outcome, run_job
from jobs.ticks import Clock, due_ticks, floor_tick

FIRST_PAUSE = 15.0
LONGEST_PAUSE = 600.0
"""Seconds between attempts at what keeps failing: the pause doubles each time."""
LEFT_BEHIND = timedelta(hours=1)
"""A run that another process started longer ago than this is taken over."""

log = logging.getLogger("forecaster")


@dataclass(slots=True, kw_only=True)
class Backlog:
    """Catches up one job of one dataset at a time; lanes share it."""

    engine: Engine
    clock: Clock
    stopping: threading.Event
    observe: Observe
    missed: Callable[[str, str, int], None]
    """Told of ticks that are given up: job, dataset, how many."""
    _failures: dict[tuple[str, str], int] = field(default_factory=dict)
    _pauses: dict[tuple[str, str], float] = field(default_factory=dict)
    _looked: set[tuple[str, str]] = field(default_factory=set)

    def catch_up(self, job: Job, dataset: DatasetConfig) -> list[Outcome]:
        """Run what is due, unless it failed a moment ago or the program is stopping."""
        key = (job.name, dataset.name)
        if time.monotonic() < self._pauses.get(key, 0.0):
            return []
        outcomes: list[Outcome] = []
        for tick in self._due(job, dataset):
            if self.stopping.is_set():
                break
            outcome = run_job(
                job,
                self.engine,
                dataset,
                tick=tick,
                clock=self.clock,
                observe=self.observe,
            )
            outcomes.append(outcome)
            if isinstance(outcome.error, DatabaseUnavailable):
                break
        self._remember(key, outcomes)
        return outcomes

    def _due(self, job: Job, dataset: DatasetConfig) -> list[datetime]:
        now, every = self.clock(), job.every(dataset)
        with reading(self.engine) as conn:
            last = runs.latest(conn, job.name, dataset.name)
            unfinished = runs.unfinished(conn, job.name, dataset.name)
            done = runs.latest(conn, job.name, dataset.name, state="succeeded")
        tick = None if last is None else last.tick
        to_run, given_up = due_ticks(tick, now, every, limit=job.catch_up)
        if not job.cumulative:
            self._give_up(job.name, dataset.name, given_up)
        oldest = floor_tick(now, every) - (job.catch_up - 1) * every
        again = [run.tick for run in unfinished if run.tick >= oldest and self._is_ours(run)]
        due = sorted({*again, *to_run})
        if not job.cumulative:
            return due
        return [tick for tick in due[-1:] if done is None or tick > done.tick]

    def _is_ours(self, run: Run) -> bool:
        """Tell whether nobody else works on a run that did not succeed.

        When we start, a running one is taken for left behind; later it belongs to another process,
        until it is old.
        """
        if run.state == "failed" or (run.job, run.dataset) not in self._looked:
            return True
        return run.started_at is not None and self.clock() - run.started_at > LEFT_BEHIND

    def _give_up(self, job: str, dataset: str, ticks: list[datetime]) -> None:
        if not ticks:
            return
        with writing(self.engine) as conn:
            count = runs.record_missed(conn, job, dataset, ticks, self.clock())
        self.missed(job, dataset, count)
        log.warning(
            "%s missed job=%s dataset=%s from=%s to=%s",
            count,
            job,
            dataset,
            ticks[0].isoformat(),
            ticks[-1].isoformat(),
        )

    def _remember(self, key: tuple[str, str], outcomes: list[Outcome]) -> None:
        self._looked.add(key)
        if any(outcome.result in ("failed", "crashed") for outcome in outcomes):
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
            self._pauses[key] = time.monotonic() + pause
        else:
            self._failures.pop(key, None)
            self._pauses.pop(key, None)
