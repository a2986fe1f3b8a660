"""One look at what is due of one job on one dataset, as its rows in the `runs` table tell.

Ticks without a row after the last one that the service did, and ticks that failed or were left
running by a process that died. What will not be run is noted as missed on the way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import bounded, fence_of
from forecaster.store.state import run_history, runs
from forecaster.store.state.run_history import Run
from forecaster.store.state.runs import RunClaim
from forecaster.times.schedules import Schedule
from jobs.execution.clock import Clock
from jobs.execution.job import Job
from jobs.scheduling import misfire_policy
from jobs.scheduling.misfire_policy import LastLook, Misfires
from jobs.scheduling.missed import Missed

LEFT_BEHIND = timedelta(hours=1)
"""A run without a lease that another process started longer ago than this is taken over; one that
does the work of all ticks, such as a long training, only when its next tick is due as well."""
LOOK_WITHIN = timedelta(seconds=10)
"""How long it may take to see what is due."""


class Due(NamedTuple):
    """Ticks to run: those never tried to an end, oldest first, and those that failed."""

    fresh: list[datetime]
    again: list[datetime]
    """The least tried first."""
    soon_too_old: frozenset[datetime] = frozenset()
    """Those of `again` that newer ticks must not keep from being tried once more."""


class _Known(NamedTuple):
    """What the `runs` table says of one job on one dataset."""

    unfinished: list[Run]
    done: Run | None
    """The greatest tick that succeeded."""
    after: datetime | None
    """No tick up to then has to be made up for; None at the first look of all."""
    fresh: list[datetime]
    """The last `catchup_limit` ticks, less those that have a row; oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTicks:
    """One look; `engine` is guarded by the lease of the dataset, where there is one."""

    engine: Engine
    job: Job
    dataset: DatasetConfig
    clock: Clock
    now: datetime
    """The present instant less the delay of the worker group: later ticks are not due."""
    watch: LastLook | None
    """Of the last look, unless that failed; None also where there was none."""
    has_looked: bool
    missed: Missed
    is_over: Callable[[], bool]
    even_if_done: bool

    def due(self) -> Due | None:
        """Return what is due; None when all is over before that is known."""
        with bounded(self.engine, "look", LOOK_WITHIN) as brief, reading(brief) as conn:
            known = self._known(conn)
        if self.job.cumulative:
            return self._due_once(known)
        try:
            return self._due_each(known)
        finally:
            self.missed.log()

    @property
    def _schedule(self) -> Schedule:
        return self.job.schedule(self.dataset)

    def _known(self, conn: Connection) -> _Known:
        key = (conn, self.job.name, self.dataset.name)
        last = None
        if fence_of(self.engine) is not None:  # what was run by hand hides nothing
            last = run_history.latest(*key, tried_until=self.now, leased=True)
        last = last or run_history.latest(*key, tried_until=self.now)
        after = self._after(last, is_ahead=last is None and run_history.latest(*key) is not None)
        return _Known(
            unfinished=run_history.unfinished(*key),
            done=run_history.latest(*key, state="succeeded", tried_until=self.now),
            after=after,
            fresh=[] if after is None or self.job.cumulative else self._fresh(conn, after),
        )

    def _after(self, last: Run | None, *, is_ahead: bool) -> datetime | None:
        """Return up to when no tick has to be made up for; None at the first look of all.

        `is_ahead`: there are only ticks of the future, the clock was set back to before the first.
        """
        if last is not None:
            return last.tick
        if is_ahead:
            return self.now if self.watch is None else self.watch.looked
        return None

    def _oldest(self, since: datetime) -> datetime:
        limit = self.dataset.catchup_limit
        return misfire_policy.oldest(self._schedule, self.now, limit, since=since)

    def _fresh(self, conn: Connection, after: datetime) -> list[datetime]:
        """Return those of the last `catchup_limit` ticks that have no row."""
        begin = max(after, self._oldest(after) - timedelta(microseconds=1))
        return self._without_row(conn, self._schedule.between(begin, self.now), begin)

    def _without_row(
        self, conn: Connection, ticks: list[datetime], after: datetime
    ) -> list[datetime]:
        if not ticks:
            return []
        noted = run_history.recorded_ticks(
            conn,
            self.job.name,
            self.dataset.name,
            after=after,
            until=ticks[-1],
            now=self.clock(),
        )
        return [tick for tick in ticks if tick not in noted]

    def _due_each(self, known: _Known) -> Due | None:
        if known.after is None:
            found = Misfires(run=[self._schedule.floor(self.now)])
        elif not self._pass_over(known.after):
            return None
        else:
            found = misfire_policy.apply_policy(known.fresh, self.dataset, self.watch)
        ours = [run for run in known.unfinished if self._is_ours(run, LEFT_BEHIND)]
        again = self._recent(ours)
        tried = [run for run in ours if run.tick <= self.now and run not in again]
        for reason, ticks in found.missed.items():
            self.missed.note(reason, ticks)
        self.missed.note("gave_up", tried)
        again.sort(key=lambda run: (run.attempt, run.tick))
        broken_off = [run for run in again if _was_broken_off(run)]
        return Due(
            sorted([*found.run, *(run.tick for run in broken_off)]),
            [run.tick for run in again if run not in broken_off],
            self._soon_too_old(again),
        )

    def _soon_too_old(self, again: list[Run]) -> frozenset[datetime]:
        """Return the ticks in the older half of those that are made up for."""
        if not again:
            return frozenset()
        limit, first = self.dataset.catchup_limit, min(run.tick for run in again)
        middle = misfire_policy.oldest(self._schedule, self.now, max(1, limit // 2), since=first)
        return frozenset(run.tick for run in again if run.tick < middle)

    def _pass_over(self, after: datetime) -> bool:
        """Note what is older than the last `catchup_limit` ticks; False when it was broken off."""
        for ticks in misfire_policy.spans(self._schedule, after, self._oldest(after)):
            if self.is_over():
                return False
            with bounded(self.engine, "look", LOOK_WITHIN) as brief, reading(brief) as conn:
                lost = self._without_row(conn, ticks, after)
            for reason, part in misfire_policy.too_old(lost, self.dataset, self.watch).items():
                self.missed.note(reason, part)
            after = ticks[-1]
        return True

    def _due_once(self, known: _Known) -> Due:
        schedule = self._schedule
        due = schedule.floor(self.now)
        tick = max(due, self.dataset.forecast_schedule.floor(self.now))
        patience = max(LEFT_BEHIND, schedule.shortest)
        ours = [run for run in known.unfinished if self._is_ours(run, patience)]
        is_busy = any(run.tick >= due and run not in ours for run in known.unfinished)
        is_done = known.done is not None and known.done.tick >= (tick if self.even_if_done else due)
        self._close([run for run in ours if run.tick != tick])
        return Due([], [] if is_busy or is_done else [tick])

    def _recent(self, tried: list[Run]) -> list[Run]:
        """Return the runs of ticks that are not too old to be tried again."""
        if not tried:
            return []
        oldest = self._oldest(min(run.tick for run in tried))
        return [run for run in tried if oldest <= run.tick <= self.now]

    def _is_ours(self, run: Run, patience: timedelta) -> bool:
        """Tell whether nobody else works on a run that did not succeed.

        Under a lease nobody else does, unless by hand. Without one, a running one is taken for left
        behind when we start; later it belongs to another process, until it is old.
        """
        is_leased = run.token is not None and fence_of(self.engine) is not None
        if run.state == "failed" or is_leased or not self.has_looked:
            return True
        return run.started_at is not None and self.clock() - run.started_at > patience

    def _close(self, left: list[Run]) -> None:
        """Note that runs which nobody will take up again came to no end of their own."""
        error = "abandoned: worker died before the run ended"
        for run in left:
            if run.state == "running":
                claim = RunClaim(run_id=run.run_id, attempt=run.attempt)
                with bounded(self.engine, "look", LOOK_WITHIN) as brief, writing(brief) as conn:
                    runs.fail(conn, claim, now=self.clock(), error=error)


def _was_broken_off(run: Run) -> bool:
    """Tell whether the service began a tick, and was stopped or killed amid its first attempt."""
    return run.state == "running" and run.attempt == 1 and run.token is not None
