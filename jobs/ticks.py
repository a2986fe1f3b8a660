"""Ticks: instants on the UTC grid of a schedule, whenever the process woke up. No clock in here."""

from collections.abc import Callable
from datetime import datetime

from forecaster.schedules import Schedule

Clock = Callable[[], datetime]
"""Returns the present instant, with a zone."""


def due_ticks(
    last: datetime | None, now: datetime, schedule: Schedule, *, limit: int = 100
) -> tuple[list[datetime], list[datetime]]:
    """Return the ticks to run and the ticks to give up, both oldest first.

    Due are all ticks after `last` up to `now`; the most recent `limit` of them run. Before a
    first run (`last` is None) only the newest tick is due.
    """
    if last is None:
        return [schedule.floor(now)], []
    due = schedule.between(last, now)
    kept = max(0, len(due) - limit)
    return due[kept:], due[:kept]
