"""`forecaster ingest` and the jobs, each once: `retrain`, `forecast` and so on."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.config.settings import Config, DatasetConfig
from forecaster.errors import ForecasterError, TickAlreadyDone, TickTakenOver
from jobs.terminal import cpu_settings, progress
from jobs.terminal.error_boundary import complain
from jobs.terminal.file_options import FileOptions, FormatOption, takes_file_options
from jobs.terminal.job_reports import text_of
from jobs.terminal.open_database import Schema, opened
from jobs.terminal.options import (
    DEFAULT_CONFIG,
    AtOption,
    ConfigOption,
    DatasetArgument,
    JsonOption,
    OneDatasetArgument,
    chosen,
    instant,
    load,
    now,
    the_one,
)
from jobs.terminal.output import as_json, data, say

if TYPE_CHECKING:
    from jobs.execution.job import Job
    from jobs.execution.runner import Outcome

UNSCHEDULED = ("retrain", "reconcile", "prune")
"""Jobs that are run on demand, without a tick of a schedule."""


def _command(name: str, purpose: str) -> Callable[..., None]:
    """Return the command that runs a job once."""

    def command(
        dataset: DatasetArgument = None,
        config: ConfigOption = DEFAULT_CONFIG,
        at: AtOption = None,
        json: JsonOption = False,
    ) -> None:
        from jobs.execution.runner import run_job

        settings = load(config)
        datasets = chosen(settings, dataset)
        moment = None if at is None and name in UNSCHEDULED else instant(at)
        outcomes = []
        cpu_settings.flush_denormals()
        with opened(settings.database_url, Schema.MADE) as engine:
            for configured in datasets:
                with _job(settings, configured, name) as job:
                    tick = _tick(job, configured, moment)
                    outcomes.append(
                        run_job(job, engine, configured, tick=tick, clock=now, observe=_ignore)
                    )
        _report(outcomes, json=json)

    command.__name__, command.__doc__ = name, purpose
    return command


retrain = _command("retrain", "Train a model on the history and promote it to champion.")
forecast = _command("forecast", "Pull new rows and write forecasts for the latest tick.")
score = _command("score", "Score matured forecasts against the actual values.")
reconcile = _command("reconcile", "Re-read the full history, for rows later than late_data.")
prune = _command("prune", "Delete data that is older than [retention] allows.")


@takes_file_options
def ingest(
    file: Annotated[str, typer.Argument(help="A CSV, Parquet or NDJSON file, - for stdin.")],
    dataset: OneDatasetArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    file_format: FormatOption = None,
    *,
    of_file: FileOptions,
    json: JsonOption = False,
) -> None:
    """Ingest the rows of a file into a dataset; safe to repeat."""
    from jobs import ingest as job
    from jobs.execution.reports import document

    settings = load(config)
    mapped = of_file.on(the_one(settings, dataset))
    source = sys.stdin.buffer if file == "-" else Path(file)
    with opened(settings.database_url, Schema.MADE) as engine:
        report = job.run(
            engine, mapped, source, file_format=file_format, dialect=of_file.dialect, now=now()
        )
    as_json(document(report)) if json else data(text_of(report))


@contextmanager
def _job(config: Config, dataset: DatasetConfig, name: str) -> Iterator["Job"]:
    """Yield the job called `name`, which shows the progress of a training of `dataset`."""
    from jobs import catalog
    from jobs.stages.champions import Champions
    from jobs.stages.panel_cache import PanelCache
    from jobs.training_process.parent import fit_in_child

    with progress.training(f"training {dataset.name}") as show:
        fit = partial(fit_in_child, on_progress=show)
        yield catalog.jobs(config, champions=Champions(), panels=PanelCache(), fit=fit)[name]


def _tick(job: "Job", dataset: DatasetConfig, at: datetime | None) -> datetime:
    """Return the tick of `at`, or the current second."""
    return now().replace(microsecond=0) if at is None else job.schedule(dataset).floor(at)


def _ignore(_: "Outcome") -> None:
    """No telemetry is kept of a job that a person runs."""


def _report(outcomes: Sequence["Outcome"], *, json: bool) -> None:
    """Print reports on stdout, everything else on stderr; exit 1 if any run failed."""
    from jobs.execution.reports import document

    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    for outcome in outcomes:
        about = f"{outcome.dataset}: " if len(outcomes) > 1 else ""
        match outcome.error:
            case None:
                continue
            case TickAlreadyDone() | TickTakenOver():
                say(about + outcome.error.message)
            case ForecasterError():
                complain(outcome.error, about=about)
            case _:
                raise outcome.error
    if json:
        as_json([document(report) for report in reports])
    else:
        for report in reports:
            data(text_of(report))
    if any(outcome.result == "failed" for outcome in outcomes):
        raise typer.Exit(1)
