"""`forecaster check`: report all errors together, optionally of the databases and the data too."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.checks.findings import Finding, failure, failures_of, snippet
from forecaster.checks.odd_settings import oddities
from forecaster.config.file import HINT, ParsedConfig
from forecaster.config.settings import Config, DatasetConfig
from forecaster.times.durations import format_duration
from jobs.service.plugins import unusable_plugins
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, JsonOption, drafted, now
from jobs.terminal.output import as_json, data, say, table, when

if TYPE_CHECKING:
    from jobs.commands.check_sources import Inspection

UNDERSTOOD = ("dataset", "step", "horizon", "forecast", "retrain", "next_forecast", "next_retrain")
CONNECTED = ("dataset", "rows", "series", "first", "last", "rejected")
DIAGNOSED = (
    *CONNECTED, "duplicates", "late", "age", "step", "regular", "off_grid", "gaps",
    "timestamp_marks", "season_length", "context_length", "open",
)  # fmt: skip
SHARES = ("regular", "off_grid", "gaps")
NEXT = "`forecaster check --connect` tests the databases and queries, `--data` checks the data"
FILE = "configuration"


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    connect: Annotated[
        bool, typer.Option("--connect", help="Connect to the database and to every source.")
    ] = False,
    with_data: Annotated[
        bool, typer.Option("--data", help="Read the data too, and suggest settings.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Report all errors in the configuration. Nothing is changed.

    Exit 2 when settings are invalid, 1 for any other error.
    """
    draft = drafted(config)
    findings = list(_in_file(draft))
    inspection = None
    if (connect or with_data) and not draft.problems:
        from jobs.commands.check_sources import inspect

        inspection = inspect(draft.config, now=now(), with_data=with_data)
        findings += inspection.findings
    if json:
        as_json(_document(draft, inspection, findings))
    elif not draft.problems:
        _show(draft.config, inspection, with_data=with_data)
    _print(findings, wrong=FILE if draft.problems else None)
    if draft.problems or any(finding.level == "failure" for finding in findings):
        raise typer.Exit(2 if draft.problems else 1)
    say("" if findings else "no problems found")
    if inspection is None:
        say(NEXT)


def _in_file(draft: ParsedConfig) -> Iterable[Finding]:
    """Return findings on the file; plug-ins are checked even if other settings are wrong."""
    for problem in draft.problems:
        yield failure(FILE, problem)
    for dataset, error in unusable_plugins(draft.config).items():
        yield from failures_of(dataset, error)
    if not draft.problems:
        yield from oddities(draft.config)


def _show(config: Config, inspection: "Inspection | None", *, with_data: bool) -> None:
    table([_understood(dataset, now()) for dataset in config.datasets.values()], columns=UNDERSTOOD)
    if inspection is None:
        return
    about = [inspection.database.get(key) for key in ("product", "revision", "role")]
    labels = [f"{label}{value}" for label, value in zip(("", "revision ", "role "), about,
              strict=True) if value]  # fmt: skip
    data(f"\n{inspection.database['address']}: {', '.join(labels) or 'not connected'}")
    rows = [{"dataset": name, **_readable(facts)} for name, facts in inspection.datasets.items()]
    if rows:
        data("")
        table(rows, columns=DIAGNOSED if with_data else CONNECTED)
    suggested = snippet(inspection.suggestions)
    if suggested:
        data(f"\n# suggested settings\n{suggested}")


def _understood(dataset: DatasetConfig, at: datetime) -> dict[str, object]:
    steps = dataset.prediction_length
    if dataset.step.unit == "month":
        horizon = f"{steps} steps"
    else:
        horizon = f"{format_duration(steps * dataset.step.approximate)}, {steps} steps"
    return {
        "dataset": dataset.name,
        "step": str(dataset.step),
        "horizon": horizon,
        "forecast": str(dataset.forecast_schedule),
        "retrain": str(dataset.retrain_schedule),
        "next_forecast": when(dataset.forecast_schedule.after(at)),
        "next_retrain": when(dataset.retrain_schedule.after(at)),
    }


def _readable(facts: Mapping[str, Any]) -> dict[str, object]:
    return {
        name: f"{value:.0%}" if name in SHARES else when(value)
        if isinstance(value, datetime) else value
        for name, value in facts.items()
    }  # fmt: skip


def _print(findings: list[Finding], *, wrong: str | None) -> None:
    """Print all findings, failures last."""
    for finding in sorted(findings, key=lambda finding: finding.level == "failure"):
        label = "error: " if finding.level == "failure" else "note:  "
        about = "" if finding.about == FILE else f"{finding.about}: "
        say(f"{label}{about}{finding.message}")
        if finding.hint:
            say(f"hint:  {finding.hint}")
    if wrong:
        say(f"hint:  {HINT}")


def _document(
    draft: ParsedConfig, inspection: "Inspection | None", findings: list[Finding]
) -> dict[str, object]:
    datasets = () if draft.problems else draft.config.datasets.values()
    facts = {} if inspection is None else inspection.datasets
    return {
        "database": None if inspection is None else inspection.database,
        "datasets": [
            {**_understood(dataset, now()), "found": facts.get(dataset.name)}
            for dataset in datasets
        ],
        "findings": [asdict(finding) for finding in findings],
        "suggestions": {} if inspection is None else inspection.suggestions,
    }
