"""`forecaster backfill`: write the forecasts of ticks that are past."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from forecaster.config.settings import Config, DatasetConfig
from jobs.backfill import progress
from jobs.backfill.page import plan_document, plan_text, pruned, report_text
from jobs.execution.reports import to_json
from jobs.terminal import cpu_settings
from jobs.terminal.interruption import interruptible
from jobs.terminal.open_database import opened
from jobs.terminal.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    OneDatasetArgument,
    duration,
    instant,
    load,
    now,
    period,
    the_one,
)
from jobs.terminal.output import as_json, data, say

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.backfill.plan import BackfillRequest

FromOption = Annotated[
    str, typer.Option("--from", metavar="ISO", help="First instant, such as 2026-01-01T00:00Z.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="ISO", help="Last instant. Default: now.")
]
EveryOption = Annotated[
    str | None,
    typer.Option(
        "--every",
        metavar="DURATION",
        help="Interval between ticks. Default: the forecast schedule.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="as-of|champion|ID",
        help="as-of: the champion at each tick. Any other model is marked as hindsight.",
    ),
]
RetrainEvery = Annotated[
    str | None,
    typer.Option(
        "--retrain-every",
        metavar="DURATION",
        help="Where no model was in service, train one per such period.",
    ),
]
Reprocess = Annotated[
    Literal["none", "failed", "all"],
    typer.Option("--reprocess", help="Which ticks of earlier backfills to run again."),
]
KnownAfter = Annotated[
    str | None,
    typer.Option(
        "--known-after",
        metavar="DURATION",
        help="For values ingested long after their timestamp: how long after it they count as "
        "known. Default: late_data.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the ticks and models; write nothing.")
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", metavar="N", min=1, help="Number of time ranges to process in parallel."
    ),
]

STOPPING = "stopping once running work is written; send a second signal to stop immediately"


def backfill(
    since: FromOption,
    dataset: OneDatasetArgument = None,
    until: ToOption = None,
    every: EveryOption = None,
    model: ModelOption = "as-of",
    retrain_every: RetrainEvery = None,
    reprocess: Reprocess = "none",
    known_after: KnownAfter = None,
    dry_run: DryRun = False,
    jobs: Jobs = 1,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Write the forecasts of past ticks from what was known then."""
    from jobs.backfill.plan import BackfillRequest

    settings = load(config)
    wanted = BackfillRequest(
        since=instant(since, "--from"),
        until=instant(until, "--to"),
        every=period("--every", every),
        model=model,
        retrain_every=period("--retrain-every", retrain_every),
        reprocess=reprocess,
        known_after=duration("--known-after", known_after, or_none=True),
    )
    target = the_one(settings, dataset)
    with opened(settings.database_url) as engine:
        if dry_run:
            _dry_run(engine, settings, target, wanted, json=json)
        else:
            _carry_out(engine, settings, target, wanted, jobs=jobs, json=json)


def _dry_run(
    engine: "Engine",
    config: Config,
    dataset: DatasetConfig,
    wanted: "BackfillRequest",
    *,
    json: bool,
) -> None:
    from forecaster.store.connection.engine import reading
    from forecaster.store.state import datasets
    from jobs.backfill.plan import plan

    with reading(engine) as conn:
        plan_ = plan(conn, dataset, wanted, now=now())
        series = datasets.keys(conn, dataset.name).height
    if json:
        as_json(to_json(plan_document(dataset, plan_, series)))
    else:
        data(plan_text(dataset, plan_, series))
    _warn(config, dataset, wanted)


def _carry_out(
    engine: "Engine",
    config: Config,
    dataset: DatasetConfig,
    wanted: "BackfillRequest",
    *,
    jobs: int,
    json: bool,
) -> None:
    title = f"backfilling {dataset.name}"
    with progress.backfill(title) as shown, interruptible(partial(shown.notify, STOPPING)) as asked:
        from jobs.backfill.run import Work, run
        from jobs.training_process.parent import fit_in_child

        cpu_settings.flush_denormals()
        cpu_settings.share(jobs)
        work = Work(
            engine=engine,
            dataset=dataset,
            retention=config.retention,
            fit=partial(fit_in_child, on_progress=shown.training),
            clock=now,
            jobs=jobs,
            on_progress=shown.ticks,
            notify=shown.notify,
            stopping=asked.stopping,
        )
        report = run(work, wanted)
    if json:
        as_json(to_json(report))
    else:
        data(report_text(report))
    _warn(config, dataset, wanted)
    if report.left:
        say("stopped; run the same command again to continue")
        raise typer.Exit(asked.status)
    if report.failures:
        raise typer.Exit(1)


def _warn(config: Config, dataset: DatasetConfig, wanted: "BackfillRequest") -> None:
    for line in pruned(config.retention, dataset, wanted.since, now()):
        say(line)
