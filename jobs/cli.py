"""The command line: `forecaster`. Commands live in `jobs.commands`, one module for each kind.

Nothing here imports torch or polars; commands that need them import them when they run.
"""

import logging
from typing import Annotated

import typer

from forecaster import __version__
from jobs.commands import (
    backfill,
    backtest,
    check,
    database,
    demo,
    explain,
    models,
    plan,
    run,
    serve,
    setup,
    simulate,
    status,
)
from jobs.execution.secret_filter import redact_tracebacks
from jobs.terminal import cpu_settings
from jobs.terminal.error_boundary import Boundary

# Commands print their own messages; only `serve` shows the log.
logging.getLogger("forecaster").addHandler(logging.NullHandler())

app = typer.Typer(
    name="forecaster",
    cls=Boundary,
    help="Scheduled quantile forecasts for time series in SQL, explained by attention weights.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def forecaster(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Scheduled quantile forecasts for time series in SQL, explained by attention weights."""
    cpu_settings.wait_without_spinning()
    redact_tracebacks()


app.command()(demo.demo)
app.command()(setup.init)
app.command()(check.check)
app.command()(plan.plan)
app.command()(setup.config)
app.add_typer(database.app, name="db")
app.command()(run.ingest)
app.command()(serve.serve)
app.command()(run.retrain)
app.command()(run.forecast)
app.command()(backfill.backfill)
app.command()(backtest.backtest)
app.command()(run.score)
app.command()(run.reconcile)
app.command()(run.prune)
app.command()(explain.explain)
app.command()(simulate.simulate)
app.command()(status.status)
app.add_typer(models.app, name="models")
