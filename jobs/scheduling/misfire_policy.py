"""Which overdue ticks are run, and why the others are not. Pure: rows and clocks are elsewhere."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from forecaster.config.settings import DatasetConfig
from forecaster.times.schedules import Schedule

REASONS = ("limit", "catchup", "overlap", "gave_up")
"""Why a tick is missed, as the counter has it; `gave_up`: tried in vain until it was too old."""
SPAN = 2000
"""How many ticks, at most, are dealt with at a time where nobody looked for very long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """When somebody last looked what was due, and what they then did."""

    looked: datetime
    began: datetime
    """From then on they worked on what was fresh."""
    worked: datetime
    """From then on they tried again what had failed."""
    ended: datetime

    def saw(self, tick: datetime) -> bool:
        """Tell whether a tick came due while they looked or tried something again: in time."""
        return self.looked < tick <= self.began or self.worked < tick <= self.ended

    def missed(self, tick: datetime) -> bool:
        """Tell whether a tick came due while they worked on an earlier one."""
        return self.began < tick <= self.worked


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfires:
    """Overdue ticks: to run, oldest first, and missed by reason."""

    run: list[datetime]
    missed: Mapping[str, list[datetime]] = field(default_factory=dict)


def apply_policy(
    due: Sequence[datetime], dataset: DatasetConfig, watch: LastLook | None
) -> Misfires:
    """Decide what becomes of ticks that nobody has tried, oldest first.

    `overlap` is for those that came due while an earlier one ran, `catchup` for those that nobody
    looked at when they were due; without a `watch` that is all of them. The newest tick since the
    last look is simply in time.
    """
    behind = [] if watch is None else [tick for tick in due if watch.missed(tick)]
    in_time = [] if watch is None else [tick for tick in due if watch.saw(tick)]
    if watch is not None and due and due[-1] > watch.ended:
        in_time.append(due[-1])
    attended = {*behind, *in_time}
    unattended = [tick for tick in due if tick not in attended]
    caught = {
        "all": unattended,
        "latest": [] if in_time else unattended[-1:],
        "none": [],
    }[dataset.catchup]
    queued = behind if dataset.overlap == "queue" else []
    run = sorted([*caught, *queued, *in_time])
    missed = {
        "catchup": [] if dataset.catchup == "all" else unattended[: len(unattended) - len(caught)],
        "overlap": [] if queued else behind,
        "limit": run[: -dataset.catchup_limit],
    }
    return Misfires(
        run=run[-dataset.catchup_limit :],
        missed={reason: ticks for reason, ticks in missed.items() if ticks},
    )


def too_old(
    ticks: Iterable[datetime], dataset: DatasetConfig, watch: LastLook | None
) -> Mapping[str, list[datetime]]:
    """Say why ticks are missed that are older than the last `catchup_limit`, by reason."""
    found: dict[str, list[datetime]] = {}
    for tick in ticks:
        if watch is not None and watch.missed(tick):
            reason = "limit" if dataset.overlap == "queue" else "overlap"
        else:
            is_limited = dataset.catchup == "all" or (watch is not None and watch.saw(tick))
            reason = "limit" if is_limited else "catchup"
        found.setdefault(reason, []).append(tick)
    return found


def oldest(schedule: Schedule, now: datetime, limit: int, *, since: datetime) -> datetime:
    """Return the oldest of the last `limit` ticks, or one at or before `since` if that is later.

    What is older is not tried again.
    """
    tick = schedule.floor(now)
    for _ in range(limit - 1):
        if tick <= since:
            break
        tick = schedule.floor(tick - timedelta(microseconds=1))
    return tick


def spans(schedule: Schedule, after: datetime, until: datetime) -> Iterator[list[datetime]]:
    """Yield the ticks after `after` and before `until` in order, some thousands at a time."""
    length = SPAN * schedule.shortest
    while after < until:
        end = after + min(length, until - after)
        if ticks := [tick for tick in schedule.between(after, end) if tick < until]:
            yield ticks
        after = end


def patience(schedule: Schedule, limit: int) -> float:
    """Return the seconds after which what failed is tried again at the latest.

    So it is tried several times before it is older than the last `limit` ticks.
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
