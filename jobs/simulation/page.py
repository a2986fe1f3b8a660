"""The report of a simulation as text: tables and a conclusion."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from operator import attrgetter

import typer

from forecaster.times.durations import format_duration
from jobs.execution.reports import to_json
from jobs.simulation.ledger import Ledger
from jobs.simulation.report import SimulationReport
from jobs.terminal.output import as_json, data, say, table, when

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
        document = to_json(report)
        assert isinstance(document, dict)
        as_json({"is_sound": not problems, "problems": problems, **document})
    else:
        _print(report)
    for problem in problems:
        say(f"error: every tick must run once or be missed in an outage, found {problem}")
    if problems:
        say("hint:  keep the database with --keep PATH and inspect its tables runs and forecasts")
        raise typer.Exit(1)


def _print(report: SimulationReport) -> None:
    data(
        f"{report.dataset}: {report.ticks['clean'].expected} ticks from {when(report.first)} to "
        f"{when(report.last)}, {report.series} series, seed {report.seed}"
    )
    trained_to = when(report.trained_to)
    data(f"both runs forecast with one model, trained on clean data up to {trained_to}\n")
    columns = ["fault", "injected", "noticed", "as_what"]
    table([asdict(line) for line in report.faults], columns=columns)
    data("")
    table(list(_ticks(report)), columns=["ticks", *report.ticks])
    shared = f"{report.cutoffs} of {report.scored} cutoffs"
    data(f"\naccuracy on the same {shared}, scored with all data known now")
    if report.accuracy:
        rows = [asdict(line) for line in report.accuracy]
        table(rows, columns=list(rows[0]))
        if report.unscaled:
            data(f"mase excludes {report.unscaled} series that were constant in training")
    else:
        data("none: no forecast of both runs has matured")
    took = ", ".join(f"{name} run {seconds:.0f} s" for name, seconds in report.seconds.items())
    data(f"\ntraining {report.train_seconds:.0f} s, {took}")
    for line in _conclusion(report):
        data(line)


def _ticks(report: SimulationReport) -> Iterator[dict[str, object]]:
    def row(title: str, figure: Callable[[Ledger], object]) -> dict[str, object]:
        return {"ticks": title, **{run: figure(ledger) for run, ledger in report.ticks.items()}}

    for name, title in _TICKS.items():
        yield row(title, attrgetter(name))
    yield row("longest delay", _longest_delay)
    yield row("forecasts of a series", attrgetter("forecasts"))
    for why in dict.fromkeys(why for ledger in report.ticks.values() for why in ledger.left_out):
        counts = {run: ledger.left_out.get(why, 0) for run, ledger in report.ticks.items()}
        yield {"ticks": f"… not made: {why.replace('_', ' ')}", **counts}


def _longest_delay(ledger: Ledger) -> str:
    return format_duration(timedelta(seconds=round(ledger.latest_seconds)))


def _conclusion(report: SimulationReport) -> Iterator[str]:
    yield "* counted once per pull that reads the row"
    if report.differing:
        yield f"{report.differing} observations differ from the final state of the source"
    else:
        yield "all observations equal the final state of the source"
    if not report.problems:
        yield "no tick failed after all retries, was done twice, or was silently skipped"
