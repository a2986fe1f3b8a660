"""What simulations of tests are made of: two series, a day, and everything that can go wrong."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from forecaster.store.connection.engine import open_engine
from forecaster.store.maintenance import migrations
from jobs.simulation.comparison import Simulation, prepare, replay
from jobs.simulation.faults import Shares
from jobs.simulation.inputs import SimulationInput
from jobs.simulation.report import SimulationReport
from jobs.simulation.script import Plan, write
from tests.jobs.fitting import fit_once
from tests.jobs.small import DATASET, HOUR, LAST, hour, rows

TICKS = 20
BIKES = replace(DATASET, late_data=8 * HOUR)
FAULTS = Plan(
    shares=Shares(late=0.1, corrections=0.1, gaps=0.1, duplicates=0.1),
    outages=[("source", 3 * HOUR), ("service", 4 * HOUR)],
    seed=0,
)


def material(ticks: int = TICKS, *, until: datetime | None = None) -> SimulationInput:
    """Two series, the last hour of which is that of the last tick."""
    shift = timedelta(0) if until is None else until - hour(LAST)
    truth = pl.concat([rows("a", 0, LAST), rows("b/c", 0, LAST)])
    return SimulationInput(
        dataset=BIKES,
        truth=truth.with_columns(pl.col("timestamp") + shift),
        ticks=[hour(LAST - back) + shift for back in reversed(range(ticks))],
    )


def with_flat(of: SimulationInput) -> SimulationInput:
    """The same, with a third series that is flat until the last hours."""
    flat = of.truth.filter(pl.col("series_id") == "a").with_columns(
        series_id=pl.lit("flat"),
        value=pl.when(pl.col("timestamp") > of.ticks[1]).then(8.0).otherwise(7.0),
    )
    return replace(of, truth=pl.concat([of.truth, flat]).sort("series_id", "timestamp"))


def simulate(folder: Path, plan: Plan, of: SimulationInput) -> Simulation:
    engine = open_engine(f"sqlite:///{folder / 'scratch.db'}")
    migrations.upgrade(engine)
    return replay(prepare(write(of, plan), engine, folder, fit=fit_once))


def faults(found: SimulationReport) -> dict[str, tuple[int, int]]:
    """How many of each kind were injected, and how many noticed."""
    return {line.fault: (line.injected, line.noticed) for line in found.faults}
