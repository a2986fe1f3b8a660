"""Which overdue ticks are run, and why the others are not. Pure: rows and clocks are elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from forecaster.config import DatasetConfig
from forecaster.schedules import Schedule

REASONS = ("limit", "catchup", "overlap", "gave_up")
"""Why a tick is missed, as the counter has it; `gave_up`: tried in vain until it was too old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """When somebody last looked what was due, and until when they then worked on it."""

    looked: datetime
    worked: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Overdue ticks: to run, oldest first, and missed by reason."""

    run: list[datetime]
    missed: Mapping[str, list[datetime]] = field(default_factory=dict)


def sort(due: Sequence[datetime], dataset: DatasetConfig, watch: Watch | None) -> Sorted:
    """Decide what becomes of ticks that nobody has tried, oldest first.

    `overlap` is for those that came due while an earlier one ran, `catchup` for those that nobody
    looked at when they were due; without a `watch` that is all of them. The newest tick since the
    last look is simply in time.
    """
    behind = [] if watch is None else [tick for tick in due if watch.looked < tick <= watch.worked]
    in_time = [] if watch is None else [tick for tick in due[-1:] if tick > watch.worked]
    unattended = [tick for tick in due if tick not in {*behind, *in_time}]
    caught = {
        "all": unattended,
        "latest": [] if in_time else unattended[-1:],
        "none": [],
    }[dataset.catchup]
    queued = behind if dataset.overlap == "queue" else []
    run = sorted([*caught, *queued, *in_time])
    missed = {
        "catchup": [tick for tick in unattended if tick not in set(caught)],
        "overlap": [tick for tick in behind if tick not in set(queued)],
        "limit": run[: -dataset.catchup_limit],
    }
    return Sorted(
        run=run[-dataset.catchup_limit :],
        missed={reason: ticks for reason, ticks in missed.items() if ticks},
    )


def oldest(schedule: Schedule, now: datetime, limit: int) -> datetime:
    """Return the oldest of the last `limit` ticks: what is older is not tried again."""
    tick = schedule.floor(now)
    for _ in range(limit - 1):
        tick = schedule.floor(tick - timedelta(microseconds=1))
    return tick


def told(reason: str, dataset: DatasetConfig) -> str:
    """Say why a tick is missed."""
    return {
        "limit": f"more than catchup_limit = {dataset.catchup_limit} ticks were overdue",
        "catchup": f"nobody looked when it was due, and catchup is {dataset.catchup!r}",
        "overlap": f"an earlier one still ran when it was due, and overlap is {dataset.overlap!r}",
        "gave_up": "left behind by its process, and too old to be tried again",
    }[reason]
