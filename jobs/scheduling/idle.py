"""Which worker groups need not query the database: nothing is due, and nothing has changed.

The next tick of a group follows from its schedule. What others do, manually or in another process,
is detected by one statement for all datasets every few seconds (`forecaster.store.state.activity`);
as long as that works, a group that found nothing to do checks again only for one of both reasons.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from forecaster.store.state.activity import Mark
from jobs.execution.clock import uptime
from jobs.scheduling.catch_up import JobStates

FRESH = 30.0
"""Seconds for which it is known what others did; after that every group checks by itself."""
LONGEST = 3600.0
"""Seconds after which a group checks in any case."""
JOBS = {
    "first": ("retrain",),
    "retrain": ("retrain",),
    "forecast": ("forecast", "score"),
    "reconcile": ("reconcile",),
    "prune": ("prune",),
}
"""The jobs of each worker group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that determines what a worker group finds when it checks a dataset."""

    group: str
    dataset: str
    token: int
    """Of the lease under which it checks."""
    ticks: tuple[datetime, ...]
    """The last ticks of its schedules."""
    version: int
    """Of what others did."""
    at: float = field(compare=False)
    """By `uptime`."""
    began: float = field(compare=False)
    """By the clock of back-offs."""


class ActivityCounters:
    """What others did to each dataset, as numbers that grow."""

    def __init__(self, uptime: Callable[[], float] = uptime) -> None:
        self.now = uptime
        self._lock = threading.Lock()
        self._marks: Mapping[str, Mark] | None = None
        self._versions: Counter[str] = Counter()
        self._updated = float("-inf")

    def update(self, marks: Mapping[str, Mark]) -> set[str]:
        """Take in what was read; return the datasets that have to be checked.

        The first time that is all of them: what happened since a group checked is unknown.
        """
        with self._lock:
            before, self._marks, self._updated = self._marks, marks, self.now()
            changed = set(marks) if before is None else _changed(before, marks)
            self._versions.update(changed)
            return changed

    def is_fresh(self) -> bool:
        """Return whether it is known what others do."""
        with self._lock:
            return self.now() - self._updated < FRESH

    def version(self, dataset: str) -> int:
        """Return a number that grows when somebody does something."""
        with self._lock:
            return self._versions[dataset]

    def has_unfinished(self, dataset: str, group: str) -> bool:
        """Return whether a run of a group did not succeed, and may have to be taken over."""
        with self._lock:
            mark = (self._marks or {}).get(dataset, Mark())
            return any(run.job in JOBS[group] for run in mark.unfinished)


class IdleTracker:
    """What each worker group last checked, and whether it has to check again."""

    def __init__(self, counters: ActivityCounters, job_states: JobStates) -> None:
        self._counters, self._job_states = counters, job_states
        self._checks: dict[tuple[str, str], tuple[Snapshot, frozenset[str]]] = {}

    def begin(self, group: str, dataset: str, token: int, ticks: Iterable[datetime]) -> Snapshot:
        """Return the snapshot for a check that begins now."""
        return Snapshot(
            group=group,
            dataset=dataset,
            token=token,
            ticks=tuple(ticks),
            version=self._counters.version(dataset),
            at=self._counters.now(),
            began=time.monotonic(),
        )

    def is_idle(self, check: Snapshot) -> bool:
        """Return whether the last check found all that this one could find."""
        last, in_backoff = self._checks.get((check.group, check.dataset), (None, frozenset()))
        if last is None or last != check or check.at - last.at > LONGEST:
            return False
        still_in_backoff = self._in_backoff(check)
        if not self._counters.is_fresh() or in_backoff - still_in_backoff:
            return False
        has_unfinished = self._counters.has_unfinished(check.dataset, check.group)
        return bool(still_in_backoff) or not has_unfinished

    def end(self, check: Snapshot) -> None:
        """Note that a check is complete; what failed in it is retried after a back-off."""
        self._checks[check.group, check.dataset] = check, self._in_backoff(check)

    def forget(self, dataset: str, groups: Iterable[str] = tuple(JOBS)) -> None:
        """Have worker groups check a dataset again."""
        for group in groups:
            self._checks.pop((group, dataset), None)

    def _in_backoff(self, check: Snapshot) -> frozenset[str]:
        """Return the jobs that were in a back-off at some time since a check began: it may have
        skipped what they had to do, even if their back-offs are over by now."""
        return frozenset(
            job
            for job in JOBS[check.group]
            if self._job_states[job, check.dataset].backoff.ends_after(check.began)
        )


def _changed(before: Mapping[str, Mark], after: Mapping[str, Mark]) -> set[str]:
    return {
        name
        for name in before.keys() | after.keys()
        if _must_be_checked(before.get(name, Mark()), after.get(name, Mark()))
    }


def _must_be_checked(before: Mark, after: Mark) -> bool:
    """Return whether another model serves, a run failed or began, or recorded runs are gone."""
    is_lost = any(
        job not in after.newest or after.newest[job] < tick for job, tick in before.newest.items()
    )
    has_begun = bool(_attempts(after) - _attempts(before))
    return before.champion != after.champion or is_lost or has_begun


def _attempts(mark: Mark) -> set[tuple[int, int, str]]:
    return {(run.run_id, run.attempt, run.state) for run in mark.unfinished}
