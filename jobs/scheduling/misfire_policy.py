"""Which overdue ticks are run, and why the others are not. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from forecaster.config.settings import DatasetConfig
from forecaster.times.durations import MICROSECOND
from forecaster.times.schedules import Schedule

REASONS = ("limit", "catchup", "overlap", "gave_up")
"""Why a tick is missed, as the counter has it; `gave_up`: it failed until it was too old."""
SPAN = 2000
"""Ticks that are handled at a time, at most, after a very long outage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCheck:
    """When a worker group last checked what was due, and ran it."""

    checked: datetime
    """Ticks up to then have been run or recorded."""
    began: datetime
    """From then on it ran new ticks."""
    ran: datetime
    """From then on it retried failed ones."""
    ended: datetime

    def was_idle(self, tick: datetime) -> bool:
        """Return whether a tick came due during the check or a retry: in time."""
        return self.checked < tick <= self.began or self.ran < tick <= self.ended

    def was_running(self, tick: datetime) -> bool:
        """Return whether a tick came due while an earlier one ran."""
        return self.began < tick <= self.ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfires:
    """Overdue ticks: to run, oldest first, and missed by reason."""

    run: list[datetime]
    missed: Mapping[str, list[datetime]] = field(default_factory=dict)


def apply_policy(
    due: Sequence[datetime],
    dataset: DatasetConfig,
    last: LastCheck | None,
    *,
    are_too_old: bool = False,
) -> Misfires:
    """Decide which ticks without a row are run; `due` has the oldest first.

    `overlap` is for those that came due while an earlier one ran, `catchup` for those that came due
    while no scheduler was active: without a `last` check, all of them. The newest tick since then
    is in time. None is run where they `are_too_old`, older than the last `catchup_limit` ticks.
    """
    overlapping = [tick for tick in due if last is not None and last.was_running(tick)]
    in_time = [tick for tick in due if last is not None and last.was_idle(tick)]
    if last is not None and due and due[-1] > last.ended and not are_too_old:
        in_time.append(due[-1])
    attended = {*overlapping, *in_time}
    unattended = [tick for tick in due if tick not in attended]
    latest = [] if in_time or are_too_old else unattended[-1:]
    caught = {"all": unattended, "latest": latest, "none": []}[dataset.catchup]
    queued = overlapping if dataset.overlap == "queue" else []
    run = sorted([*caught, *queued, *in_time])
    first = len(run) if are_too_old else max(0, len(run) - dataset.catchup_limit)
    missed = {
        "catchup": unattended[: len(unattended) - len(caught)],
        "overlap": [] if queued else overlapping,
        "limit": run[:first],
    }
    return Misfires(
        run=run[first:], missed={reason: ticks for reason, ticks in missed.items() if ticks}
    )


def oldest(schedule: Schedule, now: datetime, limit: int, *, since: datetime) -> datetime:
    """Return the oldest of the last `limit` ticks, or one at or before `since` if that is later.

    What is older is not run any more.
    """
    tick = schedule.floor(now)
    for _ in range(limit - 1):
        if tick <= since:
            break
        tick = schedule.floor(tick - MICROSECOND)
    return tick


def spans(schedule: Schedule, after: datetime, until: datetime) -> Iterator[list[datetime]]:
    """Yield the ticks after `after` and before `until` in order, SPAN at a time."""
    length = SPAN * schedule.shortest
    while after < until:
        end = after + min(length, until - after)
        if ticks := [tick for tick in schedule.between(after, end) if tick < until]:
            yield ticks
        after = end


def longest_backoff(schedule: Schedule, limit: int) -> float:
    """Return how many seconds a back-off may last at most.

    So a failed tick is retried several times before it is older than the last `limit` ticks.
    """
    return max(1.0, schedule.shortest.total_seconds() * limit / 4)


def explain(reason: str, dataset: DatasetConfig) -> str:
    """Return why a tick was missed, for logs and the `runs` table."""
    return {
        "limit": f"more than catchup_limit = {dataset.catchup_limit} ticks were due",
        "catchup": f"no scheduler was active when it was due, and catchup = {dataset.catchup!r}",
        "overlap": f"an earlier run was still running, and overlap = {dataset.overlap!r}",
        "gave_up": "abandoned: failed or worker died, past the catch-up window",
    }[reason]
