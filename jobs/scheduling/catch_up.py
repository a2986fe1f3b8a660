"""What a worker group does when it is woken: run every tick that is due, the oldest new one first.

What fails is retried with a back-off, and delays no newer tick: retries come after new ticks, the
least tried one first, until one fails again or a newer tick comes due. A source that does not
answer is such a failure; for our own database the service waits.

A cumulative job is due once, whatever failed before, and runs for the newest forecast tick, to
cover what is known by now.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DatabaseUnavailable, SourceUnavailable, StageTimedOut
from forecaster.times.durations import MICROSECOND
from jobs.execution.clock import Clock
from jobs.execution.job import Job
from jobs.execution.runner import Observe, Outcome, run_job
from jobs.scheduling.backoff import Backoff
from jobs.scheduling.due_ticks import Due, DueTicks
from jobs.scheduling.misfire_policy import LastCheck, longest_backoff
from jobs.scheduling.missed import OnMissed


@dataclass(slots=True)
class JobState:
    """What is known of one job on one dataset since the process began."""

    last: LastCheck | None = None
    """None when the last check failed, or there was none."""
    has_checked: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class JobStates(defaultdict[tuple[str, str], JobState]):
    """By job and dataset; they outlive a configuration."""

    def __init__(self) -> None:
        super().__init__(JobState)

    def reset_backoffs(self, datasets: Collection[str]) -> None:
        """Retry at once what failed for datasets whose settings changed."""
        for (_, dataset), state in list(self.items()):
            if dataset in datasets:
                state.backoff.reset()

    def forget_checks(self, dataset: str) -> None:
        """Note that another replica works on a dataset: what comes due is not in time for us."""
        for (_, name), state in list(self.items()):
            if name == dataset:
                state.last = None


@dataclass(slots=True, kw_only=True)
class CatchUp:
    """Catches up one job of one dataset at a time; worker groups share it."""

    engine: Engine
    clock: Clock
    is_over: Callable[[], bool]
    """Whether nothing more is to begin."""
    observe: Observe
    on_missed: OnMissed
    wake: Callable[[Job, DatasetConfig, float], None]
    """Called with the seconds after which to catch up again, if that is before the next tick."""
    job_states: JobStates = field(default_factory=JobStates)

    def catch_up(
        self,
        job: Job,
        dataset: DatasetConfig,
        engine: Engine | None = None,
        *,
        even_if_done: bool = False,
    ) -> list[Outcome]:
        """Run what is due, unless it is in a back-off.

        `engine` is guarded by the lease of the dataset, where there is one. What runs under
        another lease was abandoned by a process that lost it. `even_if_done` runs a cumulative job
        once more for the newest forecast tick: its result is gone.
        """
        state = self.job_states[job.name, dataset.name]
        is_waiting = state.backoff.remaining() > 0
        if is_waiting and (job.cumulative or state.backoff.is_outage):
            self.wake(job, dataset, state.backoff.remaining())
            return []
        due_ticks = DueTicks(
            engine=engine or self.engine,
            job=job,
            dataset=dataset,
            clock=self.clock,
            is_over=self.is_over,
            on_missed=self.on_missed,
            last=state.last,
            has_checked=state.has_checked,
            even_if_done=even_if_done,
        )
        try:
            return self._run_due(due_ticks, state, is_waiting=is_waiting)
        except (DatabaseUnavailable, StageTimedOut):
            state.last = None
            state.backoff.extend(is_outage=True)
            raise
        finally:
            if seconds := state.backoff.remaining():
                self.wake(job, dataset, seconds)

    def _run_due(self, check: DueTicks, state: JobState, *, is_waiting: bool) -> list[Outcome]:
        due = check.find()
        if due is None:
            return []
        began = check.time()
        new = self._run(check, due.new, until=lambda outcome: _is_outage(outcome.error))
        ran = check.time() if new else began
        can_retry = not is_waiting and not (new and _is_outage(new[-1].error))
        retried = self._retry(check, due) if can_retry else []
        state.last = LastCheck(
            checked=_checked_until(check, due, new),
            began=began,
            ran=ran,
            ended=check.time() if retried else ran,
        )
        state.has_checked = True
        errors = [outcome.error for outcome in (*new, *retried) if _has_failed(outcome)]
        if errors:
            at_most = longest_backoff(check.schedule, check.dataset.catchup_limit)
            state.backoff.extend(is_outage=_is_outage(errors[-1]), at_most=at_most)
        elif not is_waiting:
            state.backoff.reset()
        return [*new, *retried]

    def _retry(self, check: DueTicks, due: Due) -> list[Outcome]:
        """Run what failed until one fails again or a newer tick comes due.

        The others wait for the next check, in which the newer tick is the first. Where a newer one
        always is due, as on a machine that is too slow, one that will soon be too old is retried
        all the same.
        """

        def is_newer_due() -> bool:
            return check.schedule.floor(check.time()) > check.now

        ticks = due.retries
        if is_newer_due():
            ticks = [tick for tick in ticks if tick in due.expiring][:1]
        return self._run(check, ticks, until=lambda outcome: _has_failed(outcome) or is_newer_due())

    def _run(
        self, check: DueTicks, ticks: Iterable[datetime], *, until: Callable[[Outcome], bool]
    ) -> list[Outcome]:
        """Run ticks until one has an outcome that ends it, or the service stops."""
        outcomes: list[Outcome] = []
        for tick in ticks:
            if self.is_over() or (outcomes and until(outcomes[-1])):
                break
            job, engine, dataset = check.job, check.engine, check.dataset
            outcome = run_job(
                job, engine, dataset, tick=tick, clock=self.clock, observe=self.observe
            )
            outcomes.append(outcome)
        return outcomes


def _has_failed(outcome: Outcome) -> bool:
    return outcome.result in ("failed", "crashed")


def _is_outage(error: BaseException | None) -> bool:
    """Return whether our own database is unavailable; a source does not count."""
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, SourceUnavailable)


def _checked_until(check: DueTicks, due: Due, outcomes: list[Outcome]) -> datetime:
    """Return up to when ticks were tried; the others come at the next check."""
    tried = {outcome.tick for outcome in outcomes if not _is_outage(outcome.error)}
    left = [tick for tick in due.new if tick not in tried]
    return left[0] - MICROSECOND if left else check.now
