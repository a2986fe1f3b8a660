"""What is going to happen in both runs: computed before they begin, from the seed alone. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import polars as pl

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from jobs.simulation import faults, outages
from jobs.simulation.faults import Injection, Lags, Shares
from jobs.simulation.inputs import SimulationInput
from jobs.simulation.outages import Outage, What

FEWEST_TICKS = 3
USUAL_OUTAGE = 6
"""Ticks of an outage without a given length, unless that is more than an eighth of the replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Faults to inject; equal plans disturb equal inputs equally."""

    shares: Shares = field(default_factory=Shares)
    outages: Sequence[tuple[What, timedelta | None]] = ()
    """Of the source and of the service, by length; None is the usual length."""
    zone: str | None = None
    """Timestamps of the disturbed source are local time of this zone, without offsets."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the sources of both runs show, and the outages of the disturbed run."""

    input: SimulationInput
    plan: Plan
    since: datetime
    """Rows after this instant may have faults."""
    known: pl.DataFrame
    """OBSERVATIONS that a clean source has shown by the last tick."""
    clean: Injection
    disturbed: Injection
    outages: Sequence[Outage]

    @property
    def ticks(self) -> Sequence[datetime]:
        """The ticks that are replayed."""
        return self.input.ticks

    @property
    def excused(self) -> list[datetime]:
        """The ticks that come due in an outage of the source or the service."""
        return [tick for tick in self.ticks if any(o.covers(tick) for o in self.outages)]

    def rows(self, injection: Injection) -> pl.DataFrame:
        """Return DELIVERIES of a run with their `text`."""
        zone = self.plan.zone if injection is self.disturbed else None
        return faults.with_text(injection.deliveries, since=self.since, zone=zone)


def write(replayed: SimulationInput, plan: Plan) -> Script:
    """Return what happens in a replay; ConfigError for outages that are longer than it."""
    ticks, dataset = replayed.ticks, replayed.dataset
    if len(ticks) < FEWEST_TICKS:
        raise DataError(
            f"the replay must have at least {FEWEST_TICKS} ticks, found {len(ticks)}",
            hint="pass more --ticks, or a longer --replay",
        )
    of_rows, of_outages = np.random.default_rng(plan.seed).spawn(2)
    usual = usual_outage(replayed)
    lengths = [(what, usual if length is None else length) for what, length in plan.outages]
    since = ticks[0] - dataset.delay
    known = replayed.truth.filter(pl.col("timestamp") <= ticks[-1] - dataset.delay)
    inject = partial(
        faults.inject,
        known,
        between=(since, ticks[-1]),
        delay=dataset.delay,
        lags=lags(dataset),
        rng=of_rows,
    )
    return Script(
        input=replayed,
        plan=plan,
        since=since,
        known=known,
        clean=inject(Shares()),
        disturbed=inject(plan.shares),
        outages=outages.place(lengths, after=ticks[0], before=ticks[-2], rng=of_outages),
    )


def lags(dataset: DatasetConfig) -> Lags:
    """Return by how much rows are late: so much that a tick lacks them, and within `late_data`."""
    unit = max(dataset.step.approximate, dataset.forecast_schedule.shortest)
    return Lags(shortest=2 * unit, longest=max(2 * unit, dataset.late_data - unit))


def usual_outage(replayed: SimulationInput) -> timedelta:
    """Return the length of an outage for which none is given."""
    ticks = min(USUAL_OUTAGE, max(1, len(replayed.ticks) // 8))
    return ticks * replayed.dataset.forecast_schedule.shortest
