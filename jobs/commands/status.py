"""`forecaster status`: what is in service, how fresh it is, how the last runs went, how large."""

from typing import TYPE_CHECKING, Any

from forecaster.errors import NoChampion
from jobs.commands.opening import opened
from jobs.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, load
from jobs.commands.output import as_json, data, table
from jobs.reports import to_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from forecaster.store.sizes import TableSize

JOBS = ("retrain", "forecast", "score", "reconcile", "prune")
MODELS = ("dataset", "model", "trained_to", "newest_observation")
SIZES = ("table", "rows", "size", "partitions", "from", "to")
RUNS = ("dataset", "job", "tick", "state", "finished_at", "attempt", "error")


def status(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show models, data, the last run of every job, and how large the tables are.

    Exit 1 when the database does not answer or its schema is not the newest.
    """
    from forecaster.store import schema, sizes
    from forecaster.store.engine import reading
    from forecaster.store.urls import masked

    settings = load(config)
    with opened(settings.database_url) as engine:
        revision = schema.revision(engine)
        with reading(engine) as conn:
            datasets = [_of_dataset(conn, name) for name in settings.datasets]
            size = sizes.measure(conn)
    address = masked(engine.url)
    if json:
        found = {"database": address, "revision": revision, "datasets": datasets, "size": size}
        as_json(to_json(found))
        return
    data(f"{address}, revision {revision}\n")
    table(datasets, columns=MODELS)
    data("")
    table([run for dataset in datasets for run in dataset["runs"]], columns=RUNS)
    data("")
    table([_of_table(found) for found in size.tables], columns=SIZES)
    free = f", {_bytes(size.free_bytes)} of it free" if size.free_bytes else ""
    data(f"\n{_bytes(size.bytes)} in all{free}")


def _of_dataset(conn: "Connection", name: str) -> dict[str, Any]:
    from forecaster.store import datasets, models, runs

    try:
        champion = models.champion(conn, name)
        model = {"model": champion.model_id, "trained_to": champion.trained_to}
    except NoChampion:
        model = {"model": None, "trained_to": None}
    latest = [runs.latest(conn, job, name) for job in JOBS]
    return {
        "dataset": name,
        **model,
        "newest_observation": datasets.landed(conn, name).newest_observation,
        "runs": [
            {column: getattr(run, column) for column in (*RUNS, "started_at", "hint")}
            for run in latest
            if run is not None
        ],
    }


def _of_table(found: "TableSize") -> dict[str, Any]:
    """Return a row for people: `~` before what is estimated."""
    return {
        "table": found.table,
        "rows": f"{'~' if found.is_estimate else ''}{found.rows:,}",
        "size": _bytes(found.bytes),
        "partitions": found.partitions or None,
        "from": None if found.first is None else found.first.date(),
        "to": None if found.last is None else found.last.date(),
    }


def _bytes(size: int | None) -> str | None:
    if size is None:
        return None
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
