"""Outages of the source and of the service. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from numpy.random import Generator

from forecaster.errors import ConfigError
from forecaster.times.durations import MICROSECOND, format_duration

What = Literal["source", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """From `since` until before `until` the source does not answer, or the service does not run."""

    what: What
    since: datetime
    until: datetime

    def covers(self, instant: datetime) -> bool:
        """Return whether it lasts at `instant`."""
        return self.since <= instant < self.until


def place(
    lengths: Sequence[tuple[What, timedelta]], *, after: datetime, before: datetime, rng: Generator
) -> list[Outage]:
    """Return outages of these lengths at random, in order, no two at once.

    ConfigError when they do not fit between `after` and `before`.
    """
    free = before - after - sum((length for _, length in lengths), timedelta(0))
    if lengths and free <= timedelta(0):
        total = format_duration(before - after - free)
        room = format_duration(max(before - after, timedelta(0)))
        raise ConfigError(
            [f"outages must be shorter than the replay of {room}, found {total}"],
            hint="pass a shorter --outage or --down, or more --ticks",
        )
    order = [lengths[index] for index in rng.permutation(len(lengths))]
    starts = sorted(rng.random(len(lengths)).tolist())
    placed, passed = [], timedelta(0)
    for (what, length), share in zip(order, starts, strict=True):
        since = after + passed + max(MICROSECOND, share * free)
        placed.append(Outage(what=what, since=since, until=since + length))
        passed += length
    return placed


def is_down(what: What, outages: Sequence[Outage], instant: datetime) -> bool:
    """Return whether the source, or the service, is unavailable at `instant`."""
    return any(outage.what == what and outage.covers(instant) for outage in outages)
