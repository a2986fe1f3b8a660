"""`forecaster status`: the state of every dataset, its last runs, the size of the database."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.config.settings import DatasetConfig, ServerConfig
from forecaster.errors import ConfigError
from jobs.execution.reports import to_json
from jobs.http.liveness import require_alive
from jobs.terminal.open_database import opened
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, JsonOption, drafted, load, now
from jobs.terminal.output import as_json, data, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from forecaster.store.maintenance.sizes import StoreSize, TableSize
    from jobs.telemetry.health import Health

JOBS = ("retrain", "forecast", "score", "reconcile", "prune")
STATES = (
    "dataset",
    "state",
    "model",
    "trained_to",
    "newest_observation",
    "last_forecast",
    "reason",
)
SIZES = ("table", "rows", "size", "partitions", "from", "to")
RUNS = ("dataset", "job", "tick", "state", "finished_at", "attempt", "error")


def status(
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Only check that `serve` on this machine is alive."),
    ] = False,
) -> None:
    """Show the state of datasets, their jobs and the database.

    Exit 1 when the database cannot be reached or its schema is outdated. With --live the database
    is not queried: exit 1 when /livez does not return 200.
    """
    if live:
        require_alive(_server(config))
        return

    from forecaster.store.connection.engine import reading
    from forecaster.store.connection.urls import masked
    from forecaster.store.maintenance import migrations, sizes
    from jobs.telemetry.health import examine

    settings = load(config)
    with opened(settings.database_url) as engine:
        revision = migrations.revision(engine)
        with reading(engine) as conn:
            healths = examine(conn, settings.datasets, now())
            runs = {health.facts.dataset: _runs(conn, health.facts.dataset) for health in healths}
            size = sizes.measure(conn)
    address = masked(engine.url)
    if json:
        datasets = [{**health.document(), "runs": runs[health.facts.dataset]} for health in healths]
        document = {"database": address, "revision": revision, "datasets": datasets, "size": size}
        as_json(to_json(document))
        return
    data(f"{address}, revision {revision}\n")
    if healths:
        table([_state(health) for health in healths], columns=STATES)
        data("")
    if any(runs.values()):
        table([run for of_dataset in runs.values() for run in of_dataset], columns=RUNS)
    else:
        _say_what_is_missing(settings.datasets.values(), healths)
    data("")
    _show_size(size)


def _server(path: Path) -> ServerConfig:
    """Return where `serve` listens; the defaults if the configuration is invalid."""
    try:
        return drafted(path).config.server
    except ConfigError:
        return ServerConfig()


def _state(health: "Health") -> dict[str, Any]:
    serving, last = health.facts.serving, health.facts.last_forecast
    return {
        "dataset": health.facts.dataset,
        "state": health.lifecycle.words,
        "model": None if serving is None else serving.model_id,
        "trained_to": None if serving is None else serving.trained_to,
        "newest_observation": health.facts.newest_observation,
        "last_forecast": None if last is None else last.tick,
        "reason": health.lifecycle.reason,
    }


def _say_what_is_missing(datasets: Collection[DatasetConfig], healths: Iterable["Health"]) -> None:
    """Print why there are no runs, and the command that is next."""
    observed = {part.facts.dataset for part in healths if part.facts.newest_observation}
    empty = [part.name for part in datasets if part.query is None and part.name not in observed]
    if not datasets:
        message, hint = "no datasets are configured", "`forecaster init` writes a configuration"
    elif empty:
        message, hint = f"no observations of {', '.join(empty)} yet", "run `forecaster ingest`"
    else:
        message, hint = "no models yet", "run `forecaster retrain`"
    data(f"{message}\nhint:  {hint}")


def _runs(conn: "Connection", name: str) -> list[dict[str, Any]]:
    from forecaster.store.state import run_history

    latest = [run_history.latest(conn, job, name) for job in JOBS]
    return [
        {column: getattr(run, column) for column in (*RUNS, "started_at", "hint")}
        for run in latest
        if run is not None
    ]


def _show_size(size: "StoreSize") -> None:
    table([_of_table(part) for part in size.tables], columns=SIZES)
    free = f", {_bytes(size.free_bytes)} free" if size.free_bytes else ""
    data(f"\ntotal {_bytes(size.bytes)}{free}")


def _of_table(size: "TableSize") -> dict[str, Any]:
    """Return a row as text, with `~` before estimates."""
    return {
        "table": size.table,
        "rows": f"{'~' if size.is_estimate else ''}{size.rows:,}",
        "size": _bytes(size.bytes),
        "partitions": size.partitions or None,
        "from": None if size.first is None else size.first.date(),
        "to": None if size.last is None else size.last.date(),
    }


def _bytes(size: int | None) -> str | None:
    if size is None:
        return None
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
