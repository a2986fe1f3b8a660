"""`forecaster status`: what is in service, how fresh it is, and how the last runs went."""

from typing import TYPE_CHECKING, Any

from forecaster.errors import NoChampion
from jobs.commands.opening import opened
from jobs.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, load
from jobs.commands.output import as_json, data, table
from jobs.reports import to_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

JOBS = ("retrain", "forecast", "score", "reconcile", "prune")
MODELS = ("dataset", "model", "trained_to", "newest_observation")
RUNS = ("dataset", "job", "tick", "state", "finished_at", "attempt", "error")


def status(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show models, data and the last run of every job.

    Exit 1 when the database does not answer or its schema is not the newest.
    """
    from forecaster.store import schema
    from forecaster.store.engine import reading
    from forecaster.store.urls import masked

    settings = load(config)
    with opened(settings.database_url) as engine:
        revision = schema.revision(engine)
        with reading(engine) as conn:
            datasets = [_of_dataset(conn, name) for name in settings.datasets]
    address = masked(engine.url)
    if json:
        as_json(to_json({"database": address, "revision": revision, "datasets": datasets}))
        return
    data(f"{address}, revision {revision}\n")
    table(datasets, columns=MODELS)
    data("")
    table([run for dataset in datasets for run in dataset["runs"]], columns=RUNS)


def _of_dataset(conn: "Connection", name: str) -> dict[str, Any]:
    from forecaster.store import models, observations, runs

    try:
        champion = models.champion(conn, name)
        model = {"model": champion.model_id, "trained_to": champion.trained_to}
    except NoChampion:
        model = {"model": None, "trained_to": None}
    span = observations.span(conn, name)
    latest = [runs.latest(conn, job, name) for job in JOBS]
    return {
        "dataset": name,
        **model,
        "newest_observation": None if span is None else span[1],
        "runs": [
            {column: getattr(run, column) for column in (*RUNS, "started_at", "hint")}
            for run in latest
            if run is not None
        ],
    }
