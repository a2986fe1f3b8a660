"""Injected faults compared with what the service noticed."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Engine

from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from jobs.simulation import faults, ledger, outages
from jobs.simulation.faults import Fault
from jobs.simulation.ledger import Ledger
from jobs.simulation.outages import What
from jobs.simulation.report import FaultLine
from jobs.simulation.script import Script

_KEY = ["series_id", "timestamp"]
_CLOSE = 1e-9
"""Relative difference of two ways to take a mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbed:
    """A run with faults, when it is over."""

    engine: Engine
    dataset: str
    script: Script

    def lines(self, ticks: Ledger) -> Iterator[FaultLine]:
        """Yield a line for each kind of fault."""
        counts, noticed = self.script.disturbed.counts, ledger.pulled(self.engine, self.dataset)
        absent = self.script.known.join(self._stored(), on=_KEY, how="anti")
        never = absent.join(self.script.disturbed.deliveries, on=_KEY, how="anti")
        yield _line("late", counts[Fault.LATE], noticed["late"], "late rows")
        yield _line("correction", counts[Fault.CORRECTION], noticed["corrected"], "new versions")
        yield _line("gap", counts[Fault.GAP], never.height, "rows still missing")
        yield _line("duplicate", counts[Fault.DUPLICATE], noticed["duplicates"], "duplicates *")
        yield _line("conflict", counts[Fault.CONFLICT], noticed["conflicting"], "conflicting *")
        if self.script.zone is not None:
            twice = self._repeated(self.script.zone, self.script.disturbed.deliveries)
            lacking = self._repeated(self.script.zone, absent)
            yield _line("repeated hour (DST)", twice, lacking, "rows assigned to the hour before")
        yield _line("unreadable", 0, noticed["rejected"], "rejected *")
        yield _line("source outage", self._due("source"), ticks.retried, "ticks retried")
        yield _line(
            "service outage", self._due("service"), ticks.unattended, "ticks late or missed"
        )

    def differing(self) -> int:
        """Count observations that differ from the final state of the source."""
        shown = self.script.disturbed.deliveries
        if self.script.zone is not None:
            read = faults.as_read(shown["timestamp"], self.script.zone)
            is_wall = shown["timestamp"] > self.script.since
            shown = shown.with_columns(read.zip_with(is_wall, shown["timestamp"]))
        said = faults.settled(shown, until=self.script.ticks[-1])
        both = said.join(self._stored(), on=_KEY, how="full", coalesce=True, suffix="_stored")
        off = (pl.col("value") - pl.col("value_stored")).abs()
        is_same = off <= _CLOSE * pl.col("value").abs()
        return both.filter(~is_same.fill_null(value=False)).height

    def _stored(self) -> pl.DataFrame:
        with reading(self.engine) as conn:
            return observations.read(conn, self.dataset)

    def _repeated(self, zone: str, rows: pl.DataFrame) -> int:
        keys = rows.filter(pl.col("timestamp") > self.script.since).unique(_KEY)["timestamp"]
        return int((faults.as_read(keys, zone) != keys).sum())

    def _due(self, what: What) -> int:
        return sum(outages.of(what, self.script.troubles, tick) for tick in self.script.ticks)


def _line(fault: str, injected: int, noticed: int, as_what: str) -> FaultLine:
    return FaultLine(fault=fault, injected=injected, noticed=noticed, as_what=as_what)
