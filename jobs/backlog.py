"""What a lane does when its alarm rings: every tick that is due, oldest first.

What is due is read from the `runs` table: ticks without a row after the last one that the service
did, and ticks that failed or were left running by a process that died. What fails is tried again,
less and less often, and holds up no newer tick; what is not made up for becomes a missed tick.

A job that does the work of all ticks before it is due once, whatever failed in between, and runs
for the newest forecast tick: it shall know what is known now.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from forecaster.config import DatasetConfig
from forecaster.errors import DatabaseUnavailable, StageTimedOut
from forecaster.store import runs
from forecaster.store.engine import reading, writing
from forecaster.store.guards import Limit, fence_of, guarded
from forecaster.store.runs import Run, RunClaim
from jobs import dues
from jobs.catalog import Job
from jobs.dues import Sorted, Watch
from jobs.pauses import Pause
from jobs.runner import Observe, Outcome, run_job
from jobs.ticks import Clock, delay

LEFT_BEHIND = timedelta(hours=1)
"""A run without a lease that another process started longer ago than this is taken over; one that
does the work of all ticks, such as a long training, only when its next tick is due as well."""
LOOK_WITHIN = timedelta(seconds=10)
"""How long it may take to see what is due."""

log = logging.getLogger("forecaster")


class Due(NamedTuple):
    """Ticks to run, oldest first: those never tried, and those to try again."""

    fresh: list[datetime]
    again: list[datetime]


class _Known(NamedTuple):
    """What the `runs` table says of one job on one dataset."""

    unfinished: list[Run]
    last: Run | None
    """The last tick that we dealt with, and all before it."""
    done: Run | None
    is_ahead: bool
    """Whether there are only ticks of the future: the clock was set back to before the first."""


@dataclass(slots=True)
class _Memory:
    watch: Watch | None = None
    """None when the last look failed, or there was none."""
    has_looked: bool = False
    pause: Pause = field(default_factory=Pause)


@dataclass(slots=True, kw_only=True)
class Backlog:
    """Catches up one job of one dataset at a time; lanes share it."""

    engine: Engine
    clock: Clock
    stopping: threading.Event
    observe: Observe
    missed: Callable[[str, str, str, int], None]
    """Told of ticks that are not run: job, dataset, one of `dues.REASONS`, how many."""
    wake: Callable[[Job, DatasetConfig, float], None]
    """Told in how many seconds to catch up again, before the next tick if need be."""
    _memories: defaultdict[tuple[str, str], _Memory] = field(
        default_factory=lambda: defaultdict(_Memory)
    )

    def catch_up(
        self,
        job: Job,
        dataset: DatasetConfig,
        engine: Engine | None = None,
        *,
        even_if_done: bool = False,
    ) -> list[Outcome]:
        """Run what is due; what failed a moment ago is left alone for a while.

        `engine` is guarded by the lease of the dataset, where there is one. What runs under
        another lease was left behind by a process that lost it. `even_if_done` runs a job that
        does the work of all ticks once more for the newest forecast tick: what it made is gone.
        """
        memory = self._memories[job.name, dataset.name]
        is_paused = memory.pause.left() > 0
        try:
            if is_paused and (job.cumulative or memory.pause.is_outage):
                return []
            look = _Look(
                backlog=self,
                job=job,
                dataset=dataset,
                engine=engine or self.engine,
                now=self.clock() - delay(job.lane, dataset),
                even_if_done=even_if_done,
            )
            return self._catch_up(look, memory)
        except (DatabaseUnavailable, StageTimedOut):
            memory.watch = None
            memory.pause.lengthen(is_outage=True)
            raise
        finally:
            if pause := memory.pause.left():
                self.wake(job, dataset, pause)

    def _catch_up(self, look: "_Look", memory: _Memory) -> list[Outcome]:
        is_paused = memory.pause.left() > 0
        late = delay(look.job.lane, look.dataset)
        due = look.due(memory)
        outcomes: list[Outcome] = []
        for tick in due.fresh if is_paused else sorted({*due.again, *due.fresh}):
            if self.stopping.is_set():
                break
            outcome = run_job(
                look.job,
                look.engine,
                look.dataset,
                tick=tick,
                clock=self.clock,
                observe=self.observe,
            )
            outcomes.append(outcome)
            if isinstance(outcome.error, DatabaseUnavailable):
                break
        worked = self.clock() - late if outcomes else look.now
        memory.watch = Watch(looked=look.now, worked=worked)
        memory.has_looked = True
        self._judge(outcomes, memory, is_paused=is_paused)
        return outcomes

    def _judge(self, outcomes: list[Outcome], memory: _Memory, *, is_paused: bool) -> None:
        errors = [each.error for each in outcomes if each.result in ("failed", "crashed")]
        if errors:
            memory.pause.lengthen(is_outage=isinstance(errors[-1], DatabaseUnavailable))
        elif not is_paused:
            memory.pause.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One look at what is due of one job on one dataset; notes what will not be run."""

    backlog: Backlog
    job: Job
    dataset: DatasetConfig
    engine: Engine
    now: datetime
    even_if_done: bool

    def due(self, memory: _Memory) -> Due:
        limit = Limit()
        bounded = guarded(self.engine, limit=limit)
        with limit.stage("look", LOOK_WITHIN):
            with reading(bounded) as conn:
                known = self._known(conn)
                fresh = [] if self.job.cumulative else self._fresh(conn, known, memory.watch)
            if self.job.cumulative:
                return self._due_once(bounded, known, memory)
            return self._due_each(bounded, known, fresh, memory)

    def _known(self, conn: Connection) -> _Known:
        key = (conn, self.job.name, self.dataset.name)
        last = None
        if fence_of(self.engine) is not None:  # what was run by hand hides nothing
            last = runs.latest(*key, tried_until=self.now, leased=True)
        last = last or runs.latest(*key, tried_until=self.now)
        return _Known(
            unfinished=runs.unfinished(*key),
            last=last,
            done=runs.latest(*key, state="succeeded", tried_until=self.now),
            is_ahead=last is None and runs.latest(*key) is not None,
        )

    def _fresh(self, conn: Connection, known: _Known, watch: Watch | None) -> list[datetime]:
        """Return the ticks that have no row; of a first run only the newest one."""
        schedule = self.job.schedule(self.dataset)
        if known.last is not None:
            after = known.last.tick
        elif known.is_ahead:
            after = self.now if watch is None else watch.looked
        else:
            return [schedule.floor(self.now)]
        names = (self.job.name, self.dataset.name)
        noted = runs.ticks_noted(conn, *names, after=after, until=self.now)
        return [tick for tick in schedule.between(after, self.now) if tick not in noted]

    def _due_each(
        self, engine: Engine, known: _Known, fresh: list[datetime], memory: _Memory
    ) -> Due:
        is_first = known.last is None and not known.is_ahead
        found = Sorted(run=fresh) if is_first else dues.sort(fresh, self.dataset, memory.watch)
        ours = [run for run in known.unfinished if self._is_ours(run, LEFT_BEHIND, memory)]
        again = self._recent(ours)
        tried = [run for run in ours if run.tick <= self.now and run not in again]
        for reason, ticks in found.missed.items():
            self._give_up(engine, reason, ticks)
        self._give_up(engine, "gave_up", tried)
        return Due(found.run, [run.tick for run in again])

    def _due_once(self, engine: Engine, known: _Known, memory: _Memory) -> Due:
        schedule = self.job.schedule(self.dataset)
        due = schedule.floor(self.now)
        tick = max(due, self.dataset.forecast_schedule.floor(self.now))
        patience = max(LEFT_BEHIND, schedule.shortest)
        ours = [run for run in known.unfinished if self._is_ours(run, patience, memory)]
        is_busy = any(run.tick >= due and run not in ours for run in known.unfinished)
        is_done = known.done is not None and known.done.tick >= (tick if self.even_if_done else due)
        self._close(engine, [run for run in ours if run.tick != tick])
        return Due([], [] if is_busy or is_done else [tick])

    def _recent(self, tried: list[Run]) -> list[Run]:
        """Return the runs of ticks that are not too old to be tried again."""
        if not tried:
            return []
        schedule = self.job.schedule(self.dataset)
        oldest = dues.oldest(schedule, self.now, self.dataset.catchup_limit)
        return [run for run in tried if oldest <= run.tick <= self.now]

    def _is_ours(self, run: Run, patience: timedelta, memory: _Memory) -> bool:
        """Tell whether nobody else works on a run that did not succeed.

        Under a lease nobody else does, unless by hand. Without one, a running one is taken for left
        behind when we start; later it belongs to another process, until it is old.
        """
        is_leased = run.token is not None and fence_of(self.engine) is not None
        if run.state == "failed" or is_leased or not memory.has_looked:
            return True
        return run.started_at is not None and self.backlog.clock() - run.started_at > patience

    def _close(self, engine: Engine, left: list[Run]) -> None:
        """Note that runs which nobody will take up again came to no end of their own."""
        for run in left:
            if run.state == "running":
                claim = RunClaim(run_id=run.run_id, attempt=run.attempt)
                with writing(engine) as conn:
                    error = "left behind by its process"
                    runs.fail(conn, claim, now=self.backlog.clock(), error=error)

    def _give_up(
        self, engine: Engine, reason: str, lost: Collection[datetime] | Collection[Run]
    ) -> None:
        """Record ticks that are not run: those without a row, or those tried in vain."""
        if not lost:
            return
        names, now = (self.job.name, self.dataset.name), self.backlog.clock()
        why = dues.told(reason, self.dataset)
        ticks = [each for each in lost if isinstance(each, datetime)]
        tried = [each for each in lost if isinstance(each, Run)]
        with writing(engine) as conn:
            count = runs.record_missed(conn, *names, ticks, now, why)
            count += runs.give_up(conn, tried, now, why)
        if not count:
            return
        self.backlog.missed(*names, reason, count)
        every = sorted([*ticks, *(run.tick for run in tried)])
        log.warning(
            "%s missed job=%s dataset=%s from=%s to=%s: %s",
            count,
            *names,
            every[0].isoformat(),
            every[-1].isoformat(),
            why,
        )
