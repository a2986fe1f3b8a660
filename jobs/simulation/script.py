"""What is going to happen in both runs: written before they begin, from the seed alone. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
"""Ticks that an outage lasts when nobody says how long, unless that is more than an eighth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to go wrong; equal plans disturb equal material equally."""

    shares: Shares = field(default_factory=Shares)
    away: Sequence[tuple[What, timedelta]] = ()
    """Outages of the source and of the service, by length."""
    zone: str | None = None
    """The disturbed source has the wall clock of this zone, without offsets."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What sources show when, and who is away when."""

    ticks: Sequence[datetime]
    since: datetime
    """Rows after this instant may have faults."""
    known: pl.DataFrame
    """OBSERVATIONS that a clean source has shown by the last tick."""
    clean: Injection
    disturbed: Injection
    troubles: Sequence[Outage]
    zone: str | None

    @property
    def away(self) -> list[datetime]:
        """The ticks that come due while the source or the service is away."""
        return [tick for tick in self.ticks if any(each.covers(tick) for each in self.troubles)]

    def rows(self, injection: Injection) -> pl.DataFrame:
        """Return DELIVERIES of a run with their `text`."""
        zone = self.zone if injection is self.disturbed else None
        return faults.with_text(injection.deliveries, since=self.since, zone=zone)


def write(material: SimulationInput, plan: Plan) -> Script:
    """Return what happens to `material`; ConfigError for outages that are longer than it."""
    ticks, dataset = material.ticks, material.dataset
    if len(ticks) < FEWEST_TICKS:
        raise DataError(
            f"the replay must have at least {FEWEST_TICKS} ticks, found {len(ticks)}",
            hint="pass more --ticks, or a longer --replay",
        )
    of_rows, of_outages = np.random.default_rng(plan.seed).spawn(2)
    since = ticks[0] - dataset.delay
    known = material.truth.filter(pl.col("timestamp") <= ticks[-1] - dataset.delay)

    def shown(shares: Shares) -> Injection:
        return faults.inject(
            known,
            shares,
            between=(since, ticks[-1]),
            delay=dataset.delay,
            lags=lags(dataset),
            rng=of_rows,
        )

    return Script(
        ticks=ticks,
        since=since,
        known=known,
        clean=shown(Shares()),
        disturbed=shown(plan.shares),
        troubles=outages.place(plan.away, after=ticks[0], before=ticks[-2], rng=of_outages),
        zone=plan.zone,
    )


def lags(dataset: DatasetConfig) -> Lags:
    """Return by how much rows are late: so much that a tick lacks them, and within `late_data`."""
    unit = max(dataset.step.approximate, dataset.forecast_schedule.shortest)
    shortest = 2 * unit
    return Lags(shortest=shortest, longest=max(shortest, dataset.late_data - unit))


def usual_outage(material: SimulationInput) -> timedelta:
    """Return how long an outage lasts when nobody says."""
    ticks = min(USUAL_OUTAGE, max(1, len(material.ticks) // 8))
    return ticks * material.dataset.forecast_schedule.shortest
