"""A long time range in slices, each with about as many rows as memory has room for."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from forecaster.data.grid import Grid
from forecaster.times.durations import Step

WANTED_ROWS = 2_000_000
MOST_ROWS = 3_000_000
"""A slice with as many rows is too long, and is read again in shorter ones."""
_SHORTEST_STEPS = 1440
_LONGEST_SHORTEST = timedelta(days=1)
"""Text compares by days: to cut one into hours would read the same rows again and again."""
_MICROSECOND = timedelta(microseconds=1)

ReadRows = Callable[[datetime, datetime, int | None], pl.DataFrame]
"""Returns the rows from one instant to another, both included, or as many of them as it may."""


class Slice(NamedTuple):
    """All rows between two instants, both included; slices share no instant."""

    since: datetime
    until: datetime
    rows: pl.DataFrame


def slices(
    read: ReadRows, since: datetime, until: datetime, step: Step, timezone: str | None
) -> Iterator[Slice]:
    """Return the rows from `since` to `until`, oldest first; most often that is one slice.

    Slices begin where a step does, or a day for steps of the calendar. None is cut shorter than
    some steps, however many rows it has.
    """
    cuts = Grid(Step(1, "day") if step.is_calendar else step, 0, timezone or "UTC")
    # Clocks change on some days: a step of the calendar may be longer, but less than two of them.
    longest_step = (1.5 if step.is_calendar else 1) * cuts.step.approximate
    shortest = max(min(_LONGEST_SHORTEST, _SHORTEST_STEPS * step.approximate), longest_step)
    width = until - since
    while since <= until:
        width = max(width, shortest)
        end = until
        if width < until - since:  # the last microsecond before the step in which it lies
            end = cuts.timestamp_at(cuts.index_at(since + width)) - _MICROSECOND
        is_short = width <= shortest
        rows = read(since, end, None if is_short else MOST_ROWS)
        if rows.height >= MOST_ROWS and not is_short:
            width = (end - since) / 8
            continue
        yield Slice(since, end, rows)
        width = (end - since) * min(4.0, WANTED_ROWS / max(1, rows.height))
        since = end + _MICROSECOND
