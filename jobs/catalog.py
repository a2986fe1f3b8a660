"""The jobs of the service, in the order in which they run."""

from collections.abc import Callable, Mapping
from functools import partial

from forecaster.config.settings import Config, DatasetConfig
from forecaster.times.schedules import Schedule
from jobs import forecast, prune, reconcile, retrain, score
from jobs.execution.job import Job, Run
from jobs.retrain import Fit
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache


def jobs(
    config: Config, *, champions: Champions, panels: PanelCache, fit: Fit
) -> Mapping[str, Job]:
    """Return the jobs by name, in the order in which they run when due at the same tick."""
    retention, datasets = config.retention, config.datasets.values()
    all_jobs = (
        _once("retrain", lambda dataset: dataset.retrain_schedule, partial(retrain.run, fit=fit)),
        Job(
            name="forecast",
            schedule=lambda dataset: dataset.forecast_schedule,
            run=partial(forecast.run, champions=champions, panels=panels, retention=retention),
            group="forecast",
        ),
        _once(
            "score",
            lambda dataset: dataset.forecast_schedule,
            partial(score.run, retention=retention),
            group="forecast",
        ),
        _once("reconcile", lambda dataset: dataset.reconcile_schedule, reconcile.run),
        _once(
            "prune",
            lambda _: config.prune_schedule,
            partial(prune.run, retention=retention, datasets=datasets),
        ),
    )
    return {job.name: job for job in all_jobs}


def _once(
    name: str, schedule: Callable[[DatasetConfig], Schedule], run: Run, *, group: str | None = None
) -> Job:
    """Return a job whose newest tick does the work of all before it."""
    return Job(name=name, schedule=schedule, run=run, group=group or name, cumulative=True)
