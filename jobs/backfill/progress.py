"""Progress of a backfill: a bar on a terminal, plain lines elsewhere. On stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.execution.secret_filter import redacted
from jobs.terminal.output import say

if TYPE_CHECKING:
    from forecaster.training.estimator import Progress as Trained
    from jobs.backfill.run import BackfillProgress as Filled

LINES = 4
"""Plain lines per backfill."""


class Shown(Protocol):
    """Where a backfill reports its progress; from any thread."""

    def ticks(self, at: "Filled") -> None:
        """Show how many ticks are done."""

    def training(self, at: "Trained") -> None:
        """Show the progress of training a model."""

    def notify(self, text: str) -> None:
        """Print a message on a line of its own."""


@contextmanager
def backfill(title: str) -> Iterator[Shown]:
    """Show how far a backfill is, and the trainings on its way."""
    if not sys.stderr.isatty():
        yield _Lines(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,}/{task.total:,} {task.fields[unit]}  {task.fields[more]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar, title)


class _Bar:
    def __init__(self, bar: Progress, title: str) -> None:
        self._bar, self._started = bar, monotonic()
        self._ticks = bar.add_task(title, total=1, unit="ticks", more="", visible=False)
        self._training = bar.add_task("training", total=1, unit="steps", more="", visible=False)

    def ticks(self, at: "Filled") -> None:
        rate = at.rows / max(1e-9, monotonic() - self._started)
        more = f"{at.forecasts:,} forecasts  {rate:,.0f} rows/s"
        self._bar.update(self._ticks, completed=at.ticks, total=at.total, more=more, visible=True)

    def training(self, at: "Trained") -> None:
        self._bar.update(
            self._training,
            completed=at.step,
            total=at.steps,
            more=f"loss {at.loss:.4f}",
            visible=at.step < at.steps,
        )

    def notify(self, text: str) -> None:
        self._bar.console.print(redacted(text), markup=False, highlight=False)


class _Lines:
    def __init__(self, title: str) -> None:
        self._title, self._shown, self._started = title, 0, monotonic()

    def ticks(self, at: "Filled") -> None:
        part = LINES * at.ticks // at.total
        if part <= self._shown:
            return
        self._shown = part
        rate = at.rows / max(1e-9, monotonic() - self._started)
        say(f"{self._title}: {at.ticks:,}/{at.total:,} ticks, {rate:,.0f} rows/s")

    def training(self, at: "Trained") -> None:
        if at.step == at.steps:
            say(f"{self._title}: trained a model in {at.steps} steps, loss {at.loss:.4f}")

    def notify(self, text: str) -> None:
        say(text)
