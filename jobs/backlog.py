"""What a lane does when its alarm rings: every tick that is due, oldest first.

What is due is read from the `runs` table: ticks after the last one on record, and ticks that
failed or were left running by a process that died. What fails is tried again, less and less often,
and holds up no newer tick; what is too old to make up for becomes a missed tick.

A job that does the work of all ticks before it is due once, whatever failed in between, and runs
for the newest forecast tick: it shall know what is known now.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Engine

from forecaster.config import DatasetConfig
from forecaster.errors import DatabaseUnavailable
from forecaster.store import runs
from forecaster.store.engine import reading, writing
from forecaster.store.runs import Run, RunClaim
from jobs.catalog import Job
from jobs.runner import Observe, Outcome, run_job
from jobs.ticks import Clock, due_ticks

FIRST_PAUSE = 15.0
LONGEST_PAUSE = 600.0
"""Seconds between attempts at what keeps failing: the pause doubles each time."""
LEFT_BEHIND = timedelta(hours=1)
"""A run that another process started longer ago than this is taken over; one that does the work of
all ticks, such as a long training, only when its next tick is due as well."""

log = logging.getLogger("forecaster")


class Due(NamedTuple):
    """Ticks to run, oldest first: those never tried, and those to try again."""

    fresh: list[datetime]
    again: list[datetime]


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
        """Run what is due; what failed a moment ago is left alone for a while."""
        key = (job.name, dataset.name)
        is_paused = time.monotonic() < self._pauses.get(key, 0.0)
        if is_paused and job.cumulative:
            return []
        due = self._due(job, dataset)
        outcomes: list[Outcome] = []
        for tick in due.fresh if is_paused else sorted({*due.again, *due.fresh}):
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
        self._remember(key, outcomes, is_paused=is_paused)
        return outcomes

    def _due(self, job: Job, dataset: DatasetConfig) -> Due:
        now = self.clock()
        with reading(self.engine) as conn:
            unfinished = runs.unfinished(conn, job.name, dataset.name)
            last = runs.latest(conn, job.name, dataset.name, tried_until=now)
            done = runs.latest(conn, job.name, dataset.name, state="succeeded", tried_until=now)
            ahead = runs.latest(conn, job.name, dataset.name) if last is None else None
        if job.cumulative:
            return self._due_once(job, dataset, now, unfinished, done)
        if ahead is not None:  # the clock was set back to before the first tick
            return Due([], [])
        return self._due_each(job, dataset, now, unfinished, last)

    def _due_each(
        self,
        job: Job,
        dataset: DatasetConfig,
        now: datetime,
        unfinished: list[Run],
        last: Run | None,
    ) -> Due:
        schedule = job.schedule(dataset)
        fresh, given_up = due_ticks(last.tick if last else None, now, schedule, limit=job.catch_up)
        oldest = schedule.floor(now) - (job.catch_up - 1) * schedule.shortest
        ours = [run for run in unfinished if self._is_ours(run, LEFT_BEHIND)]
        self._give_up(job, dataset, given_up, [run for run in ours if run.tick < oldest])
        return Due(fresh, [run.tick for run in ours if oldest <= run.tick <= now])

    def _due_once(
        self,
        job: Job,
        dataset: DatasetConfig,
        now: datetime,
        unfinished: list[Run],
        done: Run | None,
    ) -> Due:
        due = job.schedule(dataset).floor(now)
        tick = max(due, dataset.forecast_schedule.floor(now))
        patience = max(LEFT_BEHIND, job.schedule(dataset).shortest)
        ours = [run for run in unfinished if self._is_ours(run, patience)]
        is_busy = any(run.tick >= due and run not in ours for run in unfinished)
        is_done = done is not None and done.tick >= due
        self._close([run for run in ours if run.tick != tick])
        return Due([], [] if is_busy or is_done else [tick])

    def _is_ours(self, run: Run, patience: timedelta) -> bool:
        """Tell whether nobody else works on a run that did not succeed.

        When we start, a running one is taken for left behind; later it belongs to another process,
        until it is old.
        """
        if run.state == "failed" or (run.job, run.dataset) not in self._looked:
            return True
        return run.started_at is not None and self.clock() - run.started_at > patience

    def _close(self, left: list[Run]) -> None:
        """Note that runs which nobody will take up again came to no end of their own."""
        for run in left:
            if run.state == "running":
                claim = RunClaim(run_id=run.run_id, attempt=run.attempt)
                with writing(self.engine) as conn:
                    runs.fail(conn, claim, now=self.clock(), error="left behind by its process")

    def _give_up(
        self, job: Job, dataset: DatasetConfig, ticks: list[datetime], tried: list[Run]
    ) -> None:
        """Record ticks that are too old to run: those without a row, and those tried in vain."""
        if not ticks and not tried:
            return
        with writing(self.engine) as conn:
            count = runs.record_missed(conn, job.name, dataset.name, ticks, self.clock())
            count += runs.give_up(conn, tried, self.clock())
        if not count:
            return
        self.missed(job.name, dataset.name, count)
        every = sorted([*ticks, *(run.tick for run in tried)])
        log.warning(
            "%s missed job=%s dataset=%s from=%s to=%s",
            count,
            job.name,
            dataset.name,
            every[0].isoformat(),
            every[-1].isoformat(),
        )

    def _remember(self, key: tuple[str, str], outcomes: list[Outcome], *, is_paused: bool) -> None:
        self._looked.add(key)
        if any(outcome.result in ("failed", "crashed") for outcome in outcomes):
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
            self._pauses[key] = time.monotonic() + pause
        elif not is_paused:
            self._failures.pop(key, None)
            self._pauses.pop(key, None)
