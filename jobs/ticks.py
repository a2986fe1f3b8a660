"""Ticks: instants on the UTC grid of a schedule, whenever the process woke up. No clock in here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from forecaster.store.runs import RunClaim

Clock = Callable[[], datetime]
"""Returns the present instant, with a zone."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One attempt at one tick: what a job needs to know about when it runs."""

    tick: datetime
    claim: RunClaim
    clock: Clock


def floor_tick(instant: datetime, every: timedelta) -> datetime:
    """Return the last tick at or before `instant`; ticks are multiples of `every` since 1970."""
    return _EPOCH + (instant - _EPOCH) // every * every


def due_ticks(
    last: datetime | None, now: datetime, every: timedelta, *, limit: int = 100
) -> tuple[list[datetime], list[datetime]]:
    """Return the ticks to run and the ticks to give up, both oldest first.

    Due are all ticks after `last` up to `now`; the most recent `limit` of them run. Before a
    first run (`last` is None) only the newest tick is due.
    """
    newest = floor_tick(now, every)
    if last is None:
        return [newest], []
    overdue = max(0, (newest - floor_tick(last, every)) // every)
    due = [newest - back * every for back in reversed(range(overdue))]
    kept = max(0, len(due) - limit)
    return due[kept:], due[:kept]
