"""What a worker group does when its alarm rings: every tick that is due, the oldest new one first.

What is due is read from the `runs` table: ticks without a row after the last one that the service
did, and ticks that failed or were left running by a process that died. What fails is tried again,
less and less often, and holds up no newer tick: it comes after what was never tried, the least
tried ones first, until one fails again or a newer tick comes due. What is not made up for becomes
a missed tick. A source that does not answer is such a failure; our own database is waited for.

A job that does the work of all ticks before it is due once, whatever failed in between, and runs
for the newest forecast tick: it shall know what is known now.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DatabaseUnavailable, SourceUnavailable, StageTimedOut
from jobs.execution.clock import Clock, delay
from jobs.execution.job import Job
from jobs.execution.runner import Observe, Outcome, run_job
from jobs.scheduling import misfire_policy
from jobs.scheduling.backoff import Backoff
from jobs.scheduling.due_ticks import Due, DueTicks
from jobs.scheduling.misfire_policy import LastLook
from jobs.scheduling.missed import Missed, OnMissed


@dataclass(slots=True)
class JobState:
    """What is known of one job on one dataset since the process began."""

    watch: LastLook | None = None
    """None when the last look failed, or there was none."""
    has_looked: bool = False
    pause: Backoff = field(default_factory=Backoff)


class JobStates(defaultdict[tuple[str, str], JobState]):
    """By job and dataset; they outlive a configuration."""

    def __init__(self) -> None:
        super().__init__(JobState)

    def end_pauses(self, datasets: Collection[str]) -> None:
        """Try again at once what failed for datasets whose settings were fixed."""
        for (_, dataset), state in list(self.items()):
            if dataset in datasets:
                state.pause.end()

    def look_away(self, dataset: str) -> None:
        """Note that somebody else looks after a dataset: what comes due is not in time for us."""
        for (_, name), state in list(self.items()):
            if name == dataset:
                state.watch = None


@dataclass(slots=True, kw_only=True)
class CatchUp:
    """Catches up one job of one dataset at a time; worker groups share it."""

    engine: Engine
    clock: Clock
    is_over: Callable[[], bool]
    """Asked whether to begin nothing more."""
    observe: Observe
    missed: OnMissed
    wake: Callable[[Job, DatasetConfig, float], None]
    """Told in how many seconds to catch up again, before the next tick if need be."""
    job_states: JobStates = field(default_factory=JobStates)

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
        state = self.job_states[job.name, dataset.name]
        is_paused = state.pause.left() > 0
        try:
            if is_paused and (job.cumulative or state.pause.is_outage):
                return []
            look = self._look(job, dataset, engine or self.engine, even_if_done)
            return self._catch_up(look, state)
        except (DatabaseUnavailable, StageTimedOut):
            state.watch = None
            state.pause.lengthen(is_outage=True)
            raise
        finally:
            if pause := state.pause.left():
                self.wake(job, dataset, pause)

    def _look(
        self, job: Job, dataset: DatasetConfig, engine: Engine, even_if_done: bool
    ) -> DueTicks:
        state = self.job_states[job.name, dataset.name]
        missed = Missed(
            engine=engine, job=job.name, dataset=dataset, clock=self.clock, on_missed=self.missed
        )
        return DueTicks(
            engine=engine,
            job=job,
            dataset=dataset,
            clock=self.clock,
            now=self.clock() - delay(job.lane, dataset),
            watch=state.watch,
            has_looked=state.has_looked,
            missed=missed,
            is_over=self.is_over,
            even_if_done=even_if_done,
        )

    def _catch_up(self, look: DueTicks, state: JobState) -> list[Outcome]:
        is_paused = state.pause.left() > 0
        due = look.due()
        if due is None:
            return []
        began = self._now(look)
        fresh = self._try(look, due.fresh)
        worked = self._now(look) if fresh else began
        is_away = bool(fresh) and _is_away(fresh[-1].error)
        again = [] if is_paused or is_away else self._try_again(look, due)
        state.watch = LastLook(
            looked=_seen_until(look, due, fresh),
            began=began,
            worked=worked,
            ended=self._now(look) if again else worked,
        )
        outcomes = [*fresh, *again]
        state.has_looked = True
        schedule, limit = look.job.schedule(look.dataset), look.dataset.catchup_limit
        self._judge(
            outcomes, state, is_paused=is_paused, patience=misfire_policy.patience(schedule, limit)
        )
        return outcomes

    def _try_again(self, look: DueTicks, due: Due) -> list[Outcome]:
        """Run what failed until one fails again or a newer tick comes due.

        The others wait for the next round, in which the newer tick is the first. Where a newer one
        always is due, as on a machine that is too slow, one of those that will soon be too old
        has its turn all the same.
        """
        outcomes: list[Outcome] = []
        schedule = look.job.schedule(look.dataset)
        ticks = due.again
        if schedule.floor(self._now(look)) > look.now:
            ticks = [tick for tick in ticks if tick in due.soon_too_old][:1]
        for tick in ticks:
            if self.is_over() or (outcomes and _has_failed(outcomes[-1])):
                break
            if outcomes and schedule.floor(self._now(look)) > look.now:
                break
            outcomes.append(self._run(look, tick))
        return outcomes

    def _try(self, look: DueTicks, ticks: list[datetime]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for tick in ticks:
            if self.is_over() or (outcomes and _is_away(outcomes[-1].error)):
                break
            outcomes.append(self._run(look, tick))
        return outcomes

    def _run(self, look: DueTicks, tick: datetime) -> Outcome:
        return run_job(
            look.job, look.engine, look.dataset, tick=tick, clock=self.clock, observe=self.observe
        )

    def _now(self, look: DueTicks) -> datetime:
        return self.clock() - delay(look.job.lane, look.dataset)

    def _judge(
        self, outcomes: list[Outcome], state: JobState, *, is_paused: bool, patience: float
    ) -> None:
        errors = [each.error for each in outcomes if _has_failed(each)]
        if errors:
            state.pause.lengthen(is_outage=_is_away(errors[-1]), at_most=patience)
        elif not is_paused:
            state.pause.end()


def _has_failed(outcome: Outcome) -> bool:
    return outcome.result in ("failed", "crashed")


def _is_away(error: BaseException | None) -> bool:
    """OnMissed whether our own database is away: one that only is a source does not count."""
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, SourceUnavailable)


def _seen_until(look: DueTicks, due: Due, outcomes: list[Outcome]) -> datetime:
    """Return up to when it was seen to what came due: what was left alone comes next time."""
    tried = {outcome.tick for outcome in outcomes if not _is_away(outcome.error)}
    left = [tick for tick in due.fresh if tick not in tried]
    return left[0] - timedelta(microseconds=1) if left else look.now
