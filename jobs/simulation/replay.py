"""One life of the service on a simulated clock: its own jobs and its own way to catch up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import Engine

from forecaster.config.settings import Config, DatasetConfig
from jobs import catalog
from jobs.demo.replay import SimulatedClock
from jobs.execution.runner import Outcome
from jobs.retrain import Fit
from jobs.scheduling.backoff import LONGEST, SPREAD
from jobs.scheduling.catch_up import CatchUp, JobStates
from jobs.simulation import outages
from jobs.simulation.outages import Outage
from jobs.simulation.source_file import SourceFile
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache

PATIENCE = timedelta(seconds=LONGEST * (1 + SPREAD))
"""What failed is tried again so much later at the latest."""
OFTEN, SELDOM = ("forecast", "score"), ("reconcile",)
"""What the service does of itself, in this order; models are trained before."""
SELDOM_EVERY = 8
"""Alarms: what does the work of all ticks before it is not run at each one, to save time."""


def frozen() -> float:
    """Let no time pass while a job runs: what a simulation says does not depend on the machine."""
    return 0.0


class Source:
    """What a source shows as time passes."""

    def __init__(self, file: SourceFile, deliveries: pl.DataFrame) -> None:
        """Show DELIVERIES with their `text`, sorted by `shown_at`."""
        self._file, self._left = file, deliveries

    def show(self, until: datetime) -> None:
        """Bring the file to where it is at `until`; it is there again."""
        self._file.set_away(False)
        due = self._left["shown_at"].search_sorted(until, side="right")
        self._file.write(self._left[:due])
        self._left = self._left[due:]

    def hide(self) -> None:
        """Let nobody find the file."""
        self._file.set_away(True)


@dataclass(slots=True, kw_only=True)
class SimulatedService:
    """The service from the first tick to the last, with what gets in its way."""

    engine: Engine
    dataset: DatasetConfig
    config: Config
    source: Source
    ticks: Sequence[datetime]
    fit: Fit
    troubles: Sequence[Outage] = ()
    outcomes: list[Outcome] = field(default_factory=list)
    clock: SimulatedClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = SimulatedClock(self.ticks[0], frozen)

    def run(self, on_wake: Callable[[int, int], None]) -> None:
        """Live through every tick; `on_wake` is told how many alarms of all have rung.

        Raises what a job crashed with, and DatabaseUnavailable when the scratch store does not
        answer: both are no faults that were injected.
        """
        wakes = self._wakes()
        service = None
        for number, at in enumerate(wakes, start=1):
            self.clock.set(at)
            if outages.of("service", self.troubles, at):
                service = None  # what it kept in memory is gone
                continue
            self._see_source(at)
            service = service or _Service(self)
            service.look(is_seldom=number % SELDOM_EVERY == 0 or number == len(wakes))
            on_wake(number, len(wakes))

    def observe(self, outcome: Outcome) -> None:
        """Keep an outcome; a bug comes out."""
        self.outcomes.append(outcome)
        if outcome.result == "crashed":
            assert outcome.error is not None
            raise outcome.error

    def _wakes(self) -> list[datetime]:
        """Return the ticks, and when the service comes back or tries again after an outage."""
        again = (
            each.until + (PATIENCE if each.what == "source" else timedelta(0))
            for each in self.troubles
        )
        return sorted({*self.ticks, *(at for at in again if at < self.ticks[-1])})

    def _see_source(self, at: datetime) -> None:
        if outages.of("source", self.troubles, at):
            self.source.hide()
        else:
            self.source.show(at)


class _Service:
    """One process of it, as far as its worker groups go."""

    def __init__(self, life: SimulatedService) -> None:
        self._dataset, self._memories = life.dataset, JobStates()
        self._jobs = catalog.jobs(
            life.config, champions=Champions(), panels=PanelCache(), fit=life.fit
        )
        self._backlog = CatchUp(
            engine=life.engine,
            clock=life.clock,
            is_over=lambda: False,
            observe=life.observe,
            missed=lambda *_: None,
            wake=lambda *_: None,
            job_states=self._memories,
        )

    def look(self, *, is_seldom: bool) -> None:
        """Do what is due. Pauses after failures are over by the next tick, or by PATIENCE."""
        self._memories.end_pauses([self._dataset.name])
        for name in (*OFTEN, *SELDOM) if is_seldom else OFTEN:
            self._backlog.catch_up(self._jobs[name], self._dataset)
