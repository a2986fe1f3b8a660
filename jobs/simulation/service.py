"""One run of the service on a simulated clock, with its own jobs and catch-up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine

from forecaster.config.settings import Config, DatasetConfig, RetentionConfig
from jobs import catalog
from jobs.demo.replay import SimulatedClock
from jobs.execution.job import Job
from jobs.execution.reports import RetrainReport
from jobs.execution.runner import Outcome, run_job
from jobs.retrain import Fit
from jobs.scheduling.backoff import LONGEST, SPREAD
from jobs.scheduling.catch_up import CatchUp
from jobs.simulation.outages import Outage, is_down
from jobs.simulation.source_file import SourceFile
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache

LONGEST_BACKOFF = timedelta(seconds=LONGEST * (1 + SPREAD))
"""A failed run is tried again so much later at the latest."""
RECONCILE_EVERY = 8
"""Wake-ups: `reconcile` covers all ticks before it, so to save time not each of them runs it."""
_FOREVER = RetentionConfig(forecasts=None, attention=None, accuracy=None, runs=None)


@dataclass(slots=True, kw_only=True)
class SimulatedService:
    """The service from the first tick to the last, with the outages in between."""

    engine: Engine
    dataset: DatasetConfig
    source: SourceFile
    ticks: Sequence[datetime]
    fit: Fit
    outages: Sequence[Outage] = ()
    clock: SimulatedClock = field(init=False)

    def __post_init__(self) -> None:
        # no time passes while a job runs, so results do not depend on the machine
        self.clock = SimulatedClock(self.ticks[0], passing=lambda: 0.0)

    def train(self) -> RetrainReport:
        """Train a model on what the source shows at the first tick; raises what that fails with."""
        tick, job = self.ticks[0], self._jobs()["retrain"]
        self.source.advance(tick)
        outcome = run_job(
            job, self.engine, self.dataset, tick=tick, clock=self.clock, observe=_raise_crash
        )
        if outcome.error is not None:
            raise outcome.error
        assert isinstance(outcome.report, RetrainReport)
        return outcome.report

    def run(self, on_wake: Callable[[int, int], None]) -> None:
        """Run every tick; `on_wake` is called with the number of wake-ups done, and of all.

        Raises what a job crashed with, and DatabaseUnavailable when the temporary database does
        not answer: neither is an injected fault.
        """
        wakes, name = self._wakes(), self.dataset.name
        process: tuple[CatchUp, Mapping[str, Job]] | None = None
        for number, at in enumerate(wakes, start=1):
            self.clock.set(at)
            if is_down("service", self.outages, at):
                process = None  # what it kept in memory is lost
                continue
            if is_down("source", self.outages, at):
                self.source.hide()
            else:
                self.source.advance(at)
            catch_up, jobs = process = process or (self._catch_up(), self._jobs())
            catch_up.job_states.reset_backoffs([name])  # over by the next wake-up
            is_reconciling = number % RECONCILE_EVERY == 0 or number == len(wakes)
            for job in ("forecast", "score", *(["reconcile"] if is_reconciling else [])):
                catch_up.catch_up(jobs[job], self.dataset)
            on_wake(number, len(wakes))

    def _wakes(self) -> list[datetime]:
        """Return the ticks, and when the service restarts or tries again after an outage."""
        again = (
            outage.until + (LONGEST_BACKOFF if outage.what == "source" else timedelta(0))
            for outage in self.outages
        )
        return sorted({*self.ticks, *(at for at in again if at < self.ticks[-1])})

    def _jobs(self) -> Mapping[str, Job]:
        datasets = {self.dataset.name: self.dataset}
        config = Config(database_url="", datasets=datasets, retention=_FOREVER)
        return catalog.jobs(config, champions=Champions(), panels=PanelCache(), fit=self.fit)

    def _catch_up(self) -> CatchUp:
        return CatchUp(
            engine=self.engine,
            clock=self.clock,
            is_over=lambda: False,
            observe=_raise_crash,
            on_missed=lambda *_: None,
            wake=lambda *_: None,
        )


def _raise_crash(outcome: Outcome) -> None:
    if outcome.result == "crashed":
        assert outcome.error is not None
        raise outcome.error
