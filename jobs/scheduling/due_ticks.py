"""Which ticks of one job on one dataset are due, according to its rows in the `runs` table.

Due are ticks without a row after the last one that ran, and ticks that failed or whose process
died. Those that will not be run are recorded as missed on the way.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import bounded, fence_of
from forecaster.store.state import run_history, runs
from forecaster.store.state.run_history import Run
from forecaster.store.state.runs import RunClaim
from forecaster.times.durations import MICROSECOND
from forecaster.times.schedules import Schedule
from jobs.execution.clock import Clock, delay
from jobs.execution.job import Job
from jobs.scheduling import misfire_policy
from jobs.scheduling.misfire_policy import LastCheck, Misfires, apply_policy
from jobs.scheduling.missed import Missed, OnMissed

ABANDONED_AFTER = timedelta(hours=1)
"""A run without a lease that another process started longer ago than this is taken over; a
cumulative one, such as a long training, only when its next tick is due as well."""
LOOK_WITHIN = timedelta(seconds=10)
"""Deadline of reading what is due."""


class Due(NamedTuple):
    """Ticks to run: those that no attempt finished, oldest first, and those that failed."""

    new: list[datetime]
    retries: list[datetime]
    """The least tried first."""
    expiring: frozenset[datetime] = frozenset()
    """Those of `retries` in the older half of the catch-up window: newer ticks must not keep them
    from being retried."""


@dataclass(slots=True, kw_only=True)
class DueTicks:
    """One check; `engine` is guarded by the lease of the dataset, where there is one."""

    engine: Engine
    job: Job
    dataset: DatasetConfig
    clock: Clock
    is_over: Callable[[], bool]
    on_missed: OnMissed
    last: LastCheck | None
    """None if it failed, or there was none."""
    has_checked: bool
    even_if_done: bool
    now: datetime = field(init=False)
    """When the check begins, less the delay of the worker group: later ticks are not due."""

    def __post_init__(self) -> None:
        self.now = self.time()

    def time(self) -> datetime:
        """Return the present instant less the delay of the worker group."""
        return self.clock() - delay(self.job.group, self.dataset)

    @property
    def schedule(self) -> Schedule:
        """The schedule of the job."""
        return self.job.schedule(self.dataset)

    def find(self) -> Due | None:
        """Return what is due; None when the service stops before that is known."""
        if self.job.cumulative:
            return self._due_once()
        missed = Missed(
            engine=self.engine,
            job=self.job.name,
            dataset=self.dataset,
            clock=self.clock,
            on_missed=self.on_missed,
        )
        try:
            return self._due_each(missed)
        finally:
            missed.log()

    @property
    def _key(self) -> tuple[str, str]:
        return self.job.name, self.dataset.name

    def _after(self, conn: Connection) -> datetime | None:
        """Return up to when no tick has to be caught up; None at the first check of all."""
        last = None
        if fence_of(self.engine) is not None:  # a run by hand hides no tick
            last = run_history.latest(conn, *self._key, tried_until=self.now, leased=True)
        last = last or run_history.latest(conn, *self._key, tried_until=self.now)
        if last is not None:
            return last.tick
        if run_history.latest(conn, *self._key) is None:
            return None
        # only ticks of the future: the clock was set back to before the first
        return self.now if self.last is None else self.last.checked

    def _new(self, conn: Connection, after: datetime) -> list[datetime]:
        """Return those of the last `catchup_limit` ticks that have no row, oldest first."""
        begin = max(after, self._oldest(after) - MICROSECOND)
        return self._without_row(conn, self.schedule.between(begin, self.now), begin)

    def _oldest(self, since: datetime, limit: int | None = None) -> datetime:
        limit = self.dataset.catchup_limit if limit is None else limit
        return misfire_policy.oldest(self.schedule, self.now, limit, since=since)

    def _without_row(
        self, conn: Connection, ticks: list[datetime], after: datetime
    ) -> list[datetime]:
        if not ticks:
            return []
        recorded = run_history.recorded_ticks(
            conn, *self._key, after=after, until=ticks[-1], now=self.clock()
        )
        return [tick for tick in ticks if tick not in recorded]

    def _due_each(self, missed: Missed) -> Due | None:
        with self._brief() as brief, reading(brief) as conn:
            unfinished, after = run_history.unfinished(conn, *self._key), self._after(conn)
            new = [] if after is None else self._new(conn, after)
        if after is None:
            misfires = Misfires(run=[self.schedule.floor(self.now)])
        elif not self._skip_old(after, missed):
            return None
        else:
            misfires = apply_policy(new, self.dataset, self.last)
        for reason, ticks in misfires.missed.items():
            missed.record(reason, ticks)
        tried = [run for run in unfinished if run.tick <= self.now]
        tried = [run for run in tried if self._is_ours(run, ABANDONED_AFTER)]
        first = min((run.tick for run in tried), default=self.now)
        oldest, limit = self._oldest(first), self.dataset.catchup_limit
        middle = self._oldest(first, max(1, limit // 2))
        missed.record("gave_up", [], [run for run in tried if run.tick < oldest])
        retries = [run for run in tried if run.tick >= oldest]
        retries.sort(key=lambda run: (run.attempt, run.tick))
        interrupted = [run.tick for run in retries if _was_interrupted(run)]
        return Due(
            sorted([*misfires.run, *interrupted]),
            [run.tick for run in retries if not _was_interrupted(run)],
            frozenset(run.tick for run in retries if run.tick < middle),
        )

    def _skip_old(self, after: datetime, missed: Missed) -> bool:
        """Record what is older than the last `catchup_limit`; False when the service stops."""
        for ticks in misfire_policy.spans(self.schedule, after, self._oldest(after)):
            if self.is_over():
                return False
            with self._brief() as brief, reading(brief) as conn:
                skipped = self._without_row(conn, ticks, after)
            old = apply_policy(skipped, self.dataset, self.last, are_too_old=True)
            for reason, part in old.missed.items():
                missed.record(reason, part)
            after = ticks[-1]
        return True

    def _due_once(self) -> Due:
        with self._brief() as brief, reading(brief) as conn:
            unfinished = run_history.unfinished(conn, *self._key)
            done = run_history.latest(conn, *self._key, state="succeeded", tried_until=self.now)
        due = self.schedule.floor(self.now)
        tick = max(due, self.dataset.forecast_schedule.floor(self.now))
        abandoned_after = max(ABANDONED_AFTER, self.schedule.shortest)
        ours = [run for run in unfinished if self._is_ours(run, abandoned_after)]
        is_busy = any(run.tick >= due and run not in ours for run in unfinished)
        needed = tick if self.even_if_done else due
        self._fail([run for run in ours if run.tick != tick and run.state == "running"])
        return Due([], [] if is_busy or (done is not None and done.tick >= needed) else [tick])

    def _is_ours(self, run: Run, abandoned_after: timedelta) -> bool:
        """Return whether nobody else works on a run that did not succeed.

        Under a lease nobody else does, unless by hand. Without one, a running one counts as
        abandoned at the first check; later it is another process's, until it is old.
        """
        is_leased = run.token is not None and fence_of(self.engine) is not None
        if run.state == "failed" or is_leased or not self.has_checked:
            return True
        return run.started_at is not None and self.clock() - run.started_at > abandoned_after

    def _fail(self, abandoned: list[Run]) -> None:
        """Record that runs failed which are not tried again."""
        error = "abandoned: worker died before the run ended"
        for run in abandoned:
            claim = RunClaim(run_id=run.run_id, attempt=run.attempt)
            with self._brief() as brief, writing(brief) as conn:
                runs.fail(conn, claim, now=self.clock(), error=error)

    def _brief(self) -> AbstractContextManager[Engine]:
        return bounded(self.engine, "look", LOOK_WITHIN)


def _was_interrupted(run: Run) -> bool:
    """Return whether the service was stopped or killed amid the first attempt at a tick."""
    return run.state == "running" and run.attempt == 1 and run.token is not None
