"""`forecaster plan`: what this configuration would retrain, reuse and drop, and why."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from forecaster.config.diff import Plan, Stored, documents, plan_of
from forecaster.config.settings import Config
from jobs.execution.reports import to_json
from jobs.terminal.open_database import Schema, opened
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, JsonOption, load, now
from jobs.terminal.output import as_json, data, say, when

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST_COUNTED = 1_000_000
"""Forecasts of a dropped dataset that are counted; there may be very many."""


def plan(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show what this configuration would retrain, reuse and drop. Nothing is changed."""
    settings, at = load(config), now()
    stored, dropped = _read(settings)
    noted = documents(settings)
    plans = [
        plan_of(dataset, noted[dataset.name], stored.get(dataset.name, Stored()), at)
        for dataset in settings.datasets.values()
    ]
    if json:
        as_json({"datasets": [_document(plan_) for plan_ in plans], "dropped": dropped})
        return
    for plan_ in plans:
        data("\n  ".join([plan_.dataset, *_lines(plan_)]))
    for name, forecasts in dropped.items():
        most = f"more than {MOST_COUNTED:,}"
        count = most if forecasts > MOST_COUNTED else f"{forecasts:,}"
        data(f"{name}\n  dropped from service: rows kept, {count} forecasts")
    if not plans and not dropped:
        say("no dataset is configured or stored")


def _read(config: Config) -> tuple[dict[str, Stored], dict[str, int]]:
    """Return what is stored of the configured datasets, and how many forecasts of others."""
    from forecaster.store.connection.engine import reading
    from forecaster.store.connection.urls import is_missing_file, parse_url
    from forecaster.store.forecasts import forecasts
    from forecaster.store.maintenance import migrations
    from forecaster.store.state import datasets

    if is_missing_file(parse_url(config.database_url)):
        return {}, {}
    with opened(config.database_url, Schema.ANY) as engine:
        if migrations.revision(engine) is None:
            return {}, {}
        migrations.require_head(engine)
        with reading(engine) as conn:
            others = [name for name in datasets.names(conn) if name not in config.datasets]
            return (
                {name: _stored(conn, name) for name in config.datasets},
                {name: forecasts.count(conn, name, at_most=MOST_COUNTED) for name in others},
            )


def _stored(conn: "Connection", name: str) -> Stored:
    from forecaster.store.state import datasets, models

    settings = datasets.stored_settings(conn, name)
    serving = [model for model in models.list_models(conn, name) if model.is_champion]
    if not serving:
        return Stored(settings=settings)
    return Stored(model_id=serving[0].model_id, spec=serving[0].config, settings=settings)


def _lines(plan_: Plan) -> Iterator[str]:
    match plan_.action:
        case "new":
            assert plan_.first_training is not None
            yield f"new: first training at once, for tick {when(plan_.first_training)}"
        case "reuse":
            yield f"reuse model {plan_.model_id}"
        case "retrain":
            missing = [f"plug-in {name} is not configured" for name in plan_.missing_plugins]
            yield f"retrain: {', '.join([*map(str, plan_.reasons), *missing])}"
            yield f"  at {when(plan_.next_retrain)}, or by `forecaster retrain {plan_.dataset}`"
            serves = "cannot serve" if plan_.missing_plugins else "serves"
            yield f"  model {plan_.model_id} {serves} until then"
    effects = plan_.effects
    for changes, what in (
        (effects.read, "changes how new rows are read, stored rows stay"),
        (effects.learnt, "takes effect at the next retrain"),
        (effects.at_once, "takes effect at once"),
    ):
        if changes:
            yield f"{what}: {', '.join(map(str, changes))}"
    retrain = "" if plan_.action == "new" else f", next retrain {when(plan_.next_retrain)}"
    yield f"next forecast {when(plan_.next_forecast)}{retrain}"


def _document(plan_: Plan) -> Any:
    effects = plan_.effects
    return to_json(
        {
            "dataset": plan_.dataset,
            "action": plan_.action,
            "model": plan_.model_id,
            "reasons": plan_.reasons,
            "missing_plugins": plan_.missing_plugins,
            "changed": {
                "read": effects.read,
                "learnt": effects.learnt,
                "at_once": effects.at_once,
            },
            "first_training": plan_.first_training,
            "next_forecast": plan_.next_forecast,
            "next_retrain": plan_.next_retrain,
        }
    )
