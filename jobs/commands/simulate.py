"""`forecaster simulate`: what the service makes of rows and outages that are not as they should."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands import processor, progress
from jobs.commands.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    SeriesColumns,
    TimestampColumn,
    ValueColumn,
    Zone,
    duration,
)

_LENGTH = "0s for none; left out: 6 ticks."


def simulate(
    target: Annotated[str, typer.Argument(help="A dataset, or a CSV, Parquet or NDJSON file.")],
    config: ConfigOption = DEFAULT_CONFIG,
    ticks: Annotated[
        int | None, typer.Option(min=3, help="How many of the last; 200 when left out.")
    ] = None,
    replay: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How much of the end, such as 14d.")
    ] = None,
    late: Annotated[str, typer.Option(help="Share of the rows that come late.")] = "5%",
    corrections: Annotated[str, typer.Option(help="Of those that are wrong at first.")] = "2%",
    gaps: Annotated[str, typer.Option(help="Of those that never come.")] = "2%",
    duplicates: Annotated[
        str, typer.Option(help="Of those that come twice; half of them with another value.")
    ] = "2%",
    outage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DURATION", help=f"The source is away so long; may be repeated, {_LENGTH}"
        ),
    ] = None,
    down: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DURATION", help=f"The service is down so long; may be repeated, {_LENGTH}"
        ),
    ] = None,
    dst: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Rows have this zone's wall clock without offset."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds make equal faults.")] = 0,
    step: Annotated[str | None, typer.Option(help="Of the file's grid, such as 1h.")] = None,
    horizon: Annotated[str | None, typer.Option(help="How far ahead, such as 2d.")] = None,
    series_column: SeriesColumns = None,
    timestamp_column: TimestampColumn = None,
    value_column: ValueColumn = None,
    timezone: Zone = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the scratch store as this new SQLite file.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Scratch store: an empty database.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Replay the past of a dataset or file twice: as it was, and with faults brought about.

    The jobs of the service run on a simulated clock, in a scratch store; your database is only
    read. Exits 1 if a tick was done twice, or was skipped without a word.
    """
    from jobs.commands import simulated, simulating
    from jobs.simulation import simulation
    from jobs.simulation.material import Extent
    from jobs.trainer import fit_in_child

    processor.flush_denormals()
    wishes = simulating.Wishes.read(
        {
            "--late": late,
            "--corrections": corrections,
            "--gaps": gaps,
            "--duplicates": duplicates,
        },
        {"--outage": outage, "--down": down},
        dst=dst,
        seed=seed,
    )
    about = {
        "--step": step,
        "--horizon": horizon,
        "--series-column": series_column,
        "--timestamp-column": timestamp_column,
        "--value-column": value_column,
        "--timezone": timezone,
    }
    extent = Extent(replay=duration("--replay", replay), ticks=ticks)
    with simulating.scratch(keep, database, config) as (engine, folder):
        material = simulating.material(target, config, extent, about)
        plan = wishes.plan(material)
        with progress.training("training the model of both runs") as show:
            fit = partial(fit_in_child, on_progress=show)
            prepared = simulation.prepare(material, plan, engine, folder, fit=fit)
        with progress.counting() as count:
            done = simulation.live(prepared, count)
        report = simulation.report(done)
    simulated.finish(report, json=json)
