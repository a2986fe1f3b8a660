"""A job that does nothing but note its ticks, and a backlog that runs it."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import run_history, runs
from forecaster.times.schedules import Every
from jobs.execution.attempt import Attempt
from jobs.execution.clock import Clock
from jobs.execution.job import Job
from jobs.execution.reports import PruneReport, document
from jobs.scheduling.catch_up import CatchUp, JobStates
from tests.jobs.small import HOUR


class Errand:
    """A job that notes its ticks, and fails for as long as it is told to."""

    def __init__(self, engine: Engine) -> None:
        self.ticks: list[datetime] = []
        self.broken = False
        self.job = Job(name="prune", schedule=lambda _: Every(HOUR), run=self.run, group="prune")
        self._engine = engine

    def run(self, engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        self.ticks.append(attempt.tick)
        if self.broken:
            raise DataError("it must work, found it broken")
        report = PruneReport(dataset=dataset.name, tick=attempt.tick, deleted={})
        with writing(engine) as conn:
            runs.finish(conn, attempt.claim, now=attempt.clock(), report=document(report))
        return report


class Wall:
    """A clock on the wall, set by the test."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def make(
    engine: Engine,
    wall: Clock,
    *,
    missed: list[tuple[str, int]] | None = None,
    pauses: list[float] | None = None,
    is_over: Callable[[], bool] = lambda: False,
    job_states: JobStates | None = None,
) -> CatchUp:
    """A backlog that notes why how many ticks are missed, and when it wants to be woken."""
    noted, wakes = missed if missed is not None else [], pauses if pauses is not None else []
    return CatchUp(
        engine=engine,
        clock=wall,
        is_over=is_over,
        observe=lambda _: None,
        on_missed=lambda job, dataset, reason, count: noted.append((reason, count)),
        wake=lambda job, dataset, seconds: wakes.append(seconds),
        job_states=JobStates() if job_states is None else job_states,
    )


def states(engine: Engine) -> dict[datetime, str]:
    with reading(engine) as conn:
        return {run.tick: run.state for run in run_history.list_runs(conn, "bikes", limit=1000)}


def reasons(engine: Engine) -> dict[datetime, str | None]:
    """Why ticks were missed, by tick."""
    with reading(engine) as conn:
        found = run_history.list_runs(conn, "bikes", limit=1000)
        return {run.tick: run.error for run in found if run.state == "missed"}
