"""`forecaster simulate`: what the service makes of rows and outages that are not as they should."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.terminal.file_options import (
    FileOptions,
    FormatOption,
    StepOption,
    takes_file_options,
)
from jobs.terminal.interruption import ended_by_ctrl_c
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, JsonOption

Target = Annotated[
    str,
    typer.Argument(metavar="DATASET|FILE", help="Of the configuration; or CSV, Parquet or NDJSON."),
]
Ticks = Annotated[
    int | None, typer.Option(min=3, help="How many of the last; left out: at most 200.")
]
Replay = Annotated[
    str | None, typer.Option(metavar="DURATION", help="How much of the end, such as 14d.")
]
Late = Annotated[str, typer.Option(metavar="SHARE", help="Of the rows, come late.")]
Corrections = Annotated[str, typer.Option(metavar="SHARE", help="Are wrong at first.")]
Gaps = Annotated[str, typer.Option(metavar="SHARE", help="Never come.")]
Duplicates = Annotated[
    str, typer.Option(metavar="SHARE", help="Come twice, half of them with another value.")
]
_REPEATED = "may be repeated; 0s: never; left out: 6 ticks."
Outages = Annotated[
    list[str] | None,
    typer.Option("--outage", metavar="DURATION", help=f"The source is away; {_REPEATED}"),
]
Downs = Annotated[
    list[str] | None,
    typer.Option("--down", metavar="DURATION", help=f"The service is down; {_REPEATED}"),
]
Dst = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Rows have this zone's wall clock, without offsets."),
]
Seed = Annotated[int, typer.Option(min=0, help="Equal seeds make equal faults.")]
Horizon = Annotated[
    str | None, typer.Option(help="Of a file: how far ahead, such as 48h, or a number of steps.")
]
Keep = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Keep the scratch store in this new file.")
]
Database = Annotated[
    str | None, typer.Option(metavar="URL", help="Scratch store: an empty database.")
]


@takes_file_options
def simulate(
    target: Target, config: ConfigOption = DEFAULT_CONFIG, ticks: Ticks = None,
    replay: Replay = None, late: Late = "5%", corrections: Corrections = "2%", gaps: Gaps = "2%",
    duplicates: Duplicates = "2%", outage: Outages = None, down: Downs = None, dst: Dst = None,
    seed: Seed = 0, step: StepOption = None, horizon: Horizon = None, *, of_file: FileOptions,
    file_format: FormatOption = None, keep: Keep = None, database: Database = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Replay the past of a dataset or file twice: as it was, and with faults brought about.

    The jobs of the service run on a simulated clock, in a scratch store; your database is only
    read. Exits 1 if a tick failed in the end, was done twice, or was skipped without a word.
    """
    from jobs.backtest.target import OfFile
    from jobs.simulation import options, page
    from jobs.simulation.scratch import Scratch

    extent = options.extent(ticks, replay)
    shares = (late, corrections, gaps, duplicates)
    lengths = {"--outage": outage, "--down": down}
    wishes = options.RequestedFaults.read(shares, lengths, dst=dst, seed=seed)
    read = OfFile(step=step, file_format=file_format, options=of_file)
    scratch = Scratch(keep=keep, database=database, config=config)
    with ended_by_ctrl_c(scratch.left):
        report = options.run(target, read, horizon, extent, wishes, scratch)
    page.finish(report, json=json)
