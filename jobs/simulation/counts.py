"""Injected faults compared with what the service noticed."""

from collections.abc import Iterator

import polars as pl
from sqlalchemy import Engine

from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from jobs.simulation import faults, ledger
from jobs.simulation.faults import Fault
from jobs.simulation.ledger import Ledger
from jobs.simulation.outages import What, is_down
from jobs.simulation.report import FaultLine
from jobs.simulation.script import Script

_KEY = ["series_id", "timestamp"]
_TOLERANCE = 1e-9
"""Relative difference of two ways to compute a mean."""


def fault_lines(engine: Engine, dataset: str, script: Script, ticks: Ledger) -> Iterator[FaultLine]:
    """Yield a line for each kind of fault in the disturbed run."""
    counts, noticed = script.disturbed.counts, ledger.pulled(engine, dataset)
    shown = script.disturbed.deliveries
    absent = script.known.join(_stored(engine, dataset), on=_KEY, how="anti")
    gaps = absent.join(shown, on=_KEY, how="anti").height
    yield FaultLine("late", counts[Fault.LATE], noticed["late"], "late rows")
    yield FaultLine("correction", counts[Fault.CORRECTION], noticed["corrected"], "new versions")
    yield FaultLine("gap", counts[Fault.GAP], gaps, "rows still missing")
    yield FaultLine("duplicate", counts[Fault.DUPLICATE], noticed["duplicates"], "duplicates *")
    yield FaultLine("conflict", counts[Fault.CONFLICT], noticed["conflicting"], "conflicting *")
    if script.plan.zone is not None:
        twice, lacking = _repeated(script, shown), _repeated(script, absent)
        name, as_what = "repeated hour (DST)", "rows assigned to the hour before"
        yield FaultLine(name, twice, lacking, as_what)
    yield FaultLine("unreadable", 0, noticed["rejected"], "rejected *")
    yield FaultLine("source outage", _due(script, "source"), ticks.retried, "ticks retried")
    due = _due(script, "service")
    yield FaultLine("service outage", due, ticks.unattended, "ticks late or missed")


def count_differing(engine: Engine, dataset: str, script: Script) -> int:
    """Count observations that differ from the final state of the disturbed source."""
    shown = script.disturbed.deliveries
    if script.plan.zone is not None:
        read = faults.as_read(shown["timestamp"], script.plan.zone)
        is_local = shown["timestamp"] > script.since
        shown = shown.with_columns(read.zip_with(is_local, shown["timestamp"]))
    final = faults.settled(shown, until=script.ticks[-1])
    stored = _stored(engine, dataset)
    both = final.join(stored, on=_KEY, how="full", coalesce=True, suffix="_stored")
    difference = (pl.col("value") - pl.col("value_stored")).abs()
    is_same = difference <= _TOLERANCE * pl.col("value").abs()
    return both.filter(~is_same.fill_null(value=False)).height


def _stored(engine: Engine, dataset: str) -> pl.DataFrame:
    with reading(engine) as conn:
        return observations.read(conn, dataset)


def _repeated(script: Script, rows: pl.DataFrame) -> int:
    """Count the rows of a repeated hour that are read as those of the hour before."""
    assert script.plan.zone is not None
    keys = rows.filter(pl.col("timestamp") > script.since).unique(_KEY)["timestamp"]
    return int((faults.as_read(keys, script.plan.zone) != keys).sum())


def _due(script: Script, what: What) -> int:
    return sum(is_down(what, script.outages, tick) for tick in script.ticks)
