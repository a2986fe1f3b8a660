"""The jobs as data: what runs, when, and in which lane."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from forecaster.config import Config, DatasetConfig
from forecaster.schedules import Schedule
from jobs import forecast, prune, reconcile, retrain, score
from jobs.champions import Champions
from jobs.panels import Panels
from jobs.reports import JobReport
from jobs.retrain import Fit
from jobs.turn import Turn

Run = Callable[[Engine, DatasetConfig, Turn], JobReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A unit of scheduled work; every dataset has ticks of its own."""

    name: str
    schedule: Callable[[DatasetConfig], Schedule]
    run: Run
    lane: str
    """What it shares threads with."""
    cumulative: bool = False
    """A run does the work of all ticks before it: only the newest one is due."""


def jobs(config: Config, *, champions: Champions, panels: Panels, fit: Fit) -> Mapping[str, Job]:
    """Return the jobs by name, in the order in which they run when due at the same tick."""
    retention, datasets = config.retention, config.datasets.values()
    found = (
        _once("retrain", lambda dataset: dataset.retrain_schedule, partial(retrain.run, fit=fit)),
        Job(
            name="forecast",
            schedule=lambda dataset: dataset.forecast_schedule,
            run=partial(forecast.run, champions=champions, panels=panels, retention=retention),
            lane="forecast",
        ),
        _once(
            "score",
            lambda dataset: dataset.forecast_schedule,
            partial(score.run, retention=retention),
            lane="forecast",
        ),
        _once("reconcile", lambda dataset: dataset.reconcile_schedule, reconcile.run),
        _once(
            "prune",
            lambda _: config.prune_schedule,
            partial(prune.run, retention=retention, datasets=datasets),
        ),
    )
    return {job.name: job for job in found}


def _once(
    name: str, schedule: Callable[[DatasetConfig], Schedule], run: Run, *, lane: str | None = None
) -> Job:
    """Return a job whose newest tick makes up for all before it."""
    return Job(name=name, schedule=schedule, run=run, lane=lane or name, cumulative=True)
