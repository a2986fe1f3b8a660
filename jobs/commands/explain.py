"""`forecaster explain`: what a forecast attended to, what each part adds, how far to trust it."""

from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.config.settings import TrainingConfig
from forecaster.config.validators import nearest
from forecaster.errors import DataError
from forecaster.explain.report import Trust
from jobs.execution.reports import to_json
from jobs.terminal import cpu_settings, progress
from jobs.terminal.open_database import database_url, opened
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, JsonOption, instant, load
from jobs.terminal.output import as_json, show
from jobs.terminal.streams import typed

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.explain.read import Explanation

WIDTH = 110
"""Columns in a pipe or a file."""


def explain(
    dataset: Annotated[str, typer.Argument(help="Dataset name.")],
    series: Annotated[
        str | None,
        typer.Argument(help="Series name; without it, only the model is shown.", callback=typed),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="ISO", help="Explain the latest forecast with a cutoff at or before it."
        ),
    ] = None,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Run all trust checks; takes as long as a training."),
    ] = False,
    database: Annotated[
        Path | None,
        typer.Option("--database", metavar="PATH", help="Database of a demo, instead of --config."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show what a forecast attended to, and how far to trust it."""
    until = None if at is None else instant(at)
    url = database_url(config) if database is None else f"sqlite:///{database}"
    with opened(url) as engine:
        _require(engine, dataset)
        if audit:
            _audit(engine, dataset, config if database is None else None)
        if series is None:
            _show_model(engine, dataset, json=json)
        else:
            _show_series(engine, dataset, series, until, json=json)


def _require(engine: "Engine", dataset: str) -> None:
    from forecaster.store.connection.engine import reading
    from forecaster.store.state import datasets

    with reading(engine) as conn:
        known = datasets.names(conn)
    if dataset not in known:
        near = nearest(dataset, known)
        meant = f"; did you mean {near!r}?" if near else ""
        expected = f"expected one of: {', '.join(known)}" if known else "the database has none"
        raise DataError(
            f"unknown dataset {dataset!r}, {expected}{meant}",
            hint="`forecaster status` lists the datasets in the database",
        )


def _audit(engine: "Engine", dataset: str, config: Path | None) -> None:
    from jobs.explain import audit
    from jobs.training_process.parent import fit_in_child

    cpu_settings.flush_denormals()
    datasets = {} if config is None else load(config).datasets
    chosen = datasets.get(dataset)
    training = TrainingConfig() if chosen is None else chosen.training
    plugins = () if chosen is None else tuple(chosen.model.plugins)
    with progress.training(f"training {dataset} with another seed") as shown:
        fit = partial(fit_in_child, on_progress=shown)
        audit.run(engine, dataset, training=training, plugins=plugins, fit=fit)


def _show_series(
    engine: "Engine", dataset: str, series: str, until: datetime | None, *, json: bool
) -> None:
    from forecaster.store.connection.engine import reading
    from jobs.explain import read
    from jobs.explain.page import Page

    with reading(engine) as conn:
        explanation = read.explain(conn, dataset, series, until=until)
    if json:
        as_json(_document(explanation))
    else:
        show(Page(explanation).render(), width=WIDTH)


def _show_model(engine: "Engine", dataset: str, *, json: bool) -> None:
    from forecaster.store.connection.engine import reading
    from forecaster.store.state import models
    from jobs.explain.page import model_page

    with reading(engine) as conn:
        model = models.champion(conn, dataset)
    if json:
        trust = Trust.from_scores(model.scores)
        as_json({"dataset": dataset, "model_id": model.model_id, "trust": _figures(trust)})
    else:
        show(model_page(model), width=WIDTH)


def _document(explanation: "Explanation") -> Any:
    """Return an explanation as JSON: all of it, nothing rounded."""
    known = {
        name: getattr(explanation, name) for name in ("dataset", "series_id", "cutoff", "issued_at")
    }
    return to_json(
        {
            **known,
            "status": explanation.status,
            "hindsight": explanation.hindsight,
            "model_id": explanation.model_id,
            "step": str(explanation.step),
            "timezone": explanation.timezone,
            "step_ranges": explanation.step_ranges,
            "forecast": explanation.forecast.to_dicts(),
            "trust": _figures(explanation.trust),
        }
    )


def _figures(trust: Trust | None) -> Any:
    if trust is None:
        return None
    return to_json({**asdict(trust), "attention_informative": trust.informative})
