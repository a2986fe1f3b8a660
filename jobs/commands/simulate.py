"""`forecaster simulate`: how the service copes with injected data faults and outages."""

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
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, JsonOption, duration

Target = Annotated[
    str,
    typer.Argument(
        metavar="DATASET|FILE", help="A configured dataset; or a CSV, Parquet or NDJSON file."
    ),
]
Ticks = Annotated[
    int | None,
    typer.Option(metavar="N", min=3, help="Number of latest ticks to replay. Default: up to 200."),
]
Replay = Annotated[
    str | None, typer.Option(metavar="DURATION", help="How much of the end to replay, such as 14d.")
]
Late = Annotated[str, typer.Option(metavar="SHARE", help="Share of rows that arrive late.")]
Corrections = Annotated[
    str, typer.Option(metavar="SHARE", help="Share of rows that are corrected later.")
]
Gaps = Annotated[str, typer.Option(metavar="SHARE", help="Share of rows that never arrive.")]
Duplicates = Annotated[
    str,
    typer.Option(metavar="SHARE", help="Share of rows that arrive twice, half with another value."),
]
_REPEATED = "repeatable; 0s for none. Default: 6 ticks."
Outages = Annotated[
    list[str] | None,
    typer.Option("--outage", metavar="DURATION", help=f"Outage of the source; {_REPEATED}"),
]
Downs = Annotated[
    list[str] | None,
    typer.Option("--down", metavar="DURATION", help=f"Downtime of the service; {_REPEATED}"),
]
Dst = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Timestamps are local time of this zone, without offset."),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Random seed of the faults.")]
Horizon = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="For a file: how far ahead to forecast, such as 48h, or a number of steps.",
    ),
]
Keep = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Keep the temporary database as this new file.")
]
Database = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Use this empty database instead of a temporary file."),
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
    """Replay the past of a dataset or file, with and without faults.

    The jobs of the service run on a simulated clock and a temporary database; yours is only read.
    Exits 1 if a tick failed after all retries, ran twice, or was silently skipped.
    """
    from jobs.backtest.target import OfFile
    from jobs.simulation import options, page
    from jobs.simulation.inputs import Extent
    from jobs.simulation.scratch import Scratch

    extent = Extent(replay=duration("--replay", replay), ticks=ticks)
    shares = {"late": late, "corrections": corrections, "gaps": gaps, "duplicates": duplicates}
    plan = options.plan(shares, {"--outage": outage, "--down": down}, dst=dst, seed=seed)
    read = OfFile(step=step, file_format=file_format, options=of_file)
    scratch = Scratch(keep=keep, database=database, config=config)
    with ended_by_ctrl_c(scratch.left):
        report = options.run(target, read, horizon, extent, plan, scratch)
    page.finish(report, json=json)
