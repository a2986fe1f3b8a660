"""Which worker groups need not query the database: nothing is due, and nothing has changed.

The next tick of a group follows from its schedule. What others do, manually or in another process,
is seen by one statement for all datasets every few seconds (`forecaster.store.state.activity`); as
long as that works, a group that found nothing to do looks again only when one of both says so.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from forecaster.store.state.activity import Mark
from jobs.execution.clock import uptime
from jobs.scheduling.catch_up import JobStates

FRESH = 30.0
"""Seconds for which it is known what others did; without that every group looks by itself."""
LONGEST = 3600.0
"""Seconds after which a group looks all the same."""
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
    """What a worker group goes by when it begins to look at a dataset."""

    lane: str
    dataset: str
    token: int
    """Of the lease under which it looks."""
    ticks: tuple[datetime, ...]
    """The last ticks of what it goes by."""
    version: int
    """Of what others did."""
    at: float
    began: float = field(compare=False)
    """By the clock of pauses."""


class ActivityCounters:
    """What others did to each dataset, as numbers that grow."""

    def __init__(self, uptime: Callable[[], float] = uptime) -> None:
        self.now = uptime
        self._lock = threading.Lock()
        self._marks: Mapping[str, Mark] | None = None
        self._versions: Counter[str] = Counter()
        self._heard = float("-inf")

    def hear(self, marks: Mapping[str, Mark]) -> set[str]:
        """Take in what was seen; return the datasets that somebody has to look at.

        The first time that is all of them: what happened before, since a group looked, is unknown.
        """
        with self._lock:
            before, self._marks, self._heard = self._marks, marks, self.now()
            changed = set(marks) if before is None else _changed(before, marks)
            self._versions.update(changed)
            return changed

    def is_fresh(self) -> bool:
        """Tell whether it is known what others do."""
        with self._lock:
            return self.now() - self._heard < FRESH

    def version(self, dataset: str) -> int:
        """Return a number that is another once somebody did something."""
        with self._lock:
            return self._versions[dataset]

    def has_unfinished(self, dataset: str, lane: str) -> bool:
        """Tell whether a run of a group did not succeed, and may have to be taken over."""
        with self._lock:
            mark = (self._marks or {}).get(dataset, Mark())
            return any(each.job in JOBS[lane] for each in mark.unfinished)


class IdleTracker:
    """What each worker group last looked at, and whether it has to look again."""

    def __init__(self, counters: ActivityCounters, job_states: JobStates) -> None:
        self._counters, self._job_states = counters, job_states
        self._looks: dict[tuple[str, str], tuple[Snapshot, frozenset[str]]] = {}

    def begin(self, lane: str, dataset: str, token: int, ticks: Iterable[datetime]) -> Snapshot:
        """Return what a look that begins now goes by."""
        return Snapshot(
            lane=lane,
            dataset=dataset,
            token=token,
            ticks=tuple(ticks),
            version=self._counters.version(dataset),
            at=self._counters.now(),
            began=time.monotonic(),
        )

    def is_idle(self, look: Snapshot) -> bool:
        """Tell whether the last look of this kind found all that this one could find."""
        last, paused = self._looks.get((look.lane, look.dataset), (None, frozenset()))
        if last is None or not self._counters.is_fresh() or look.at - last.at > LONGEST:
            return False
        if replace(last, at=look.at) != look:
            return False
        still_paused = self._paused(look)
        if paused - still_paused:
            return False
        return bool(still_paused) or not self._counters.has_unfinished(look.dataset, look.lane)

    def end(self, look: Snapshot) -> None:
        """Note that a look came to its end; what failed on the way is tried again after a pause."""
        self._looks[look.lane, look.dataset] = look, self._paused(look)

    def forget(self, dataset: str, lanes: Iterable[str] = tuple(JOBS)) -> None:
        """Have worker groups look again at a dataset."""
        for lane in lanes:
            self._looks.pop((lane, dataset), None)

    def _paused(self, look: Snapshot) -> frozenset[str]:
        """Return the jobs that were paused at some time since a look began: it may have passed
        over what they had to do, even if their pauses are over by now."""
        return frozenset(
            job
            for job in JOBS[look.lane]
            if self._job_states[job, look.dataset].pause.lasted_beyond(look.began)
        )


def _changed(before: Mapping[str, Mark], after: Mapping[str, Mark]) -> set[str]:
    return {
        name
        for name in before.keys() | after.keys()
        if _has_to_be_looked_at(before.get(name, Mark()), after.get(name, Mark()))
    }


def _has_to_be_looked_at(before: Mark, after: Mark) -> bool:
    """Tell whether another model serves, a run failed, or runs that were there are no more."""
    is_lost = any(
        job not in after.newest or after.newest[job] < tick for job, tick in before.newest.items()
    )
    is_begun = bool(_attempts(after) - _attempts(before))
    return before.champion != after.champion or is_lost or is_begun


def _attempts(mark: Mark) -> set[tuple[int, int, str]]:
    return {(each.run_id, each.attempt, each.state) for each in mark.unfinished}
