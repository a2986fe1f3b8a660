"""`forecaster models`: which models there are, and which one is in service."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.execution.reports import to_json
from jobs.terminal.error_boundary import Boundary
from jobs.terminal.open_database import opened
from jobs.terminal.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    DatasetArgument,
    JsonOption,
    OneDatasetArgument,
    chosen,
    load,
    now,
    the_one,
)
from jobs.terminal.output import as_json, data, say, table

if TYPE_CHECKING:
    from forecaster.store.state.models import ModelRecord

app = typer.Typer(
    cls=Boundary, no_args_is_help=True, rich_markup_mode=None, help="List and choose models."
)

ModelArgument = Annotated[int, typer.Argument(help="Model number, as in `forecaster models list`.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept with the model.")]
COLUMNS = (
    "dataset", "model", "champion", "damaged", "trained_to", "mase", "seasonal_naive_mase",
    "kilobytes", "reason",
)  # fmt: skip


@app.command(name="list")
def list_(
    dataset: DatasetArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """List models, the newest first."""
    from forecaster.store.connection.engine import reading
    from forecaster.store.state import models

    settings = load(config)
    with opened(settings.database_url) as engine, reading(engine) as conn:
        records = [
            model
            for configured in chosen(settings, dataset)
            for model in models.list_models(conn, configured.name)
        ]
    if json:
        as_json([_document(model) for model in records])
    elif records:
        table([_row(model) for model in records], columns=COLUMNS)
    else:
        say("no model yet; run `forecaster retrain`")


@app.command()
def show(
    model: ModelArgument,
    dataset: OneDatasetArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Print the details of one model, as JSON."""
    from forecaster.store.connection.engine import reading
    from forecaster.store.state import models

    settings = load(config)
    name = the_one(settings, dataset).name
    with opened(settings.database_url) as engine, reading(engine) as conn:
        as_json(_document(models.get(conn, name, model)))


@app.command()
def promote(
    model: ModelArgument,
    dataset: OneDatasetArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "promoted manually",
) -> None:
    """Put a model in service; the next tick forecasts with it."""
    from forecaster.store.connection.engine import writing
    from forecaster.store.state import models

    settings = load(config)
    name = the_one(settings, dataset).name
    with opened(settings.database_url) as engine, writing(engine) as conn:
        models.promote(conn, name, model, now=now(), reason=reason)
    data(f"{name}: model {model} is in service")


@app.command()
def rollback(
    dataset: OneDatasetArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "rolled back manually",
) -> None:
    """Put the previous champion back in service."""
    from forecaster.store.connection.engine import writing
    from forecaster.store.state import models

    settings = load(config)
    name = the_one(settings, dataset).name
    with opened(settings.database_url) as engine, writing(engine) as conn:
        model = models.rollback(conn, name, now=now(), reason=reason)
    data(f"{name}: model {model} is in service again")


def _row(model: "ModelRecord") -> dict[str, Any]:
    return {
        "dataset": model.dataset,
        "model": model.model_id,
        "champion": "yes" if model.is_champion else "",
        "damaged": model.damaged_at,
        "trained_to": model.trained_to,
        "mase": model.scores.get("mase"),
        "seasonal_naive_mase": model.scores.get("seasonal_naive_mase"),
        "kilobytes": model.size // 1024,
        "reason": model.reason,
    }


def _document(model: "ModelRecord") -> Any:
    known = {name: value for name, value in asdict(model).items() if name != "weights"}
    return to_json({**known, "champion": model.is_champion})
