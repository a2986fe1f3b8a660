"""The report of a simulation as text: tables and a conclusion."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from operator import attrgetter

import typer

from forecaster.times.durations import format_duration
from jobs.execution.reports import to_json
from jobs.simulation.ledger import Ledger
from jobs.simulation.report import SimulationReport
from jobs.terminal.job_reports import when
from jobs.terminal.output import (
    as_json,
    data,
    say,
    table,
)

_TICKS = {
    "expected": "expected",
    "succeeded": "succeeded",
    "caught_up": "… late (caught up)",
    "silent": "… without any forecast",
    "missed": "missed, recorded",
    "failed": "failed",
    "doubled": "done twice",
    "skipped": "silently skipped",
}


def finish(report: SimulationReport, *, json: bool) -> None:
    """Print a report; exit 1 if it has problems."""
    problems = report.problems
    if json:
        as_json({"is_sound": not problems, "problems": problems, **_document(report)})
    else:
        _tell(report)
    for problem in problems:
        say(f"error: every tick must run once or be missed in an outage, found {problem}")
    if problems:
        say("hint:  keep the database with --keep PATH and inspect its tables runs and forecasts")
        raise typer.Exit(1)


def _document(report: SimulationReport) -> dict[str, object]:
    found = to_json(report)
    assert isinstance(found, dict)
    return dict(found)


def _tell(report: SimulationReport) -> None:
    clean = report.ticks["clean"]
    data(
        f"{report.dataset}: {clean.expected} ticks from {when(report.first)} to "
        f"{when(report.last)}, {report.series} series, seed {report.seed}"
    )
    data(
        f"both runs forecast with one model, trained on clean data up to {when(report.trained_to)}"
    )
    data("")
    table(
        [asdict(line) for line in report.faults],
        columns=["fault", "injected", "noticed", "as_what"],
    )
    data("")
    table(list(_ticks(report)), columns=["ticks", *report.ticks])
    data("")
    _tell_accuracy(report)
    data("")
    took = ", ".join(f"{name} run {seconds:.0f} s" for name, seconds in report.seconds.items())
    data(f"training {report.train_seconds:.0f} s, {took}")
    for line in _verdict(report):
        data(line)


def _tell_accuracy(report: SimulationReport) -> None:
    shared = f"{report.cutoffs} of {report.judged} cutoffs"
    data(f"accuracy on the same {shared}, scored with all data known now")
    if report.accuracy:
        rows = [asdict(line) for line in report.accuracy]
        table(rows, columns=list(rows[0]))
        if report.unscaled:
            data(f"mase excludes {report.unscaled} series that were constant in training")
    else:
        data("none: no forecast of both runs has matured")


def _ticks(report: SimulationReport) -> Iterator[dict[str, object]]:
    for name, words in _TICKS.items():
        yield _row(words, report, attrgetter(name))
    yield _row("longest delay", report, _late)
    yield _row("forecasts of a series", report, attrgetter("forecasts"))
    reasons = dict.fromkeys(why for ledger in report.ticks.values() for why in ledger.left_out)
    for why in reasons:
        words = f"… not made: {why.replace('_', ' ')}"
        yield _row(words, report, partial(_not_made, why))


def _row(
    words: str, report: SimulationReport, figure: Callable[[Ledger], object]
) -> dict[str, object]:
    return {"ticks": words, **{run: figure(ledger) for run, ledger in report.ticks.items()}}


def _not_made(why: str, ledger: Ledger) -> int:
    return ledger.left_out.get(why, 0)


def _late(ledger: Ledger) -> str:
    return format_duration(timedelta(seconds=round(ledger.latest_seconds)))


def _verdict(report: SimulationReport) -> Iterator[str]:
    yield "* counted once per pull that reads the row"
    if report.differing:
        yield f"{report.differing} observations differ from the final state of the source"
    else:
        yield "all observations equal the final state of the source"
    if not report.problems:
        yield "no tick failed after all retries, was done twice, or was silently skipped"
