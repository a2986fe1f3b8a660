"""Progress of a backfill: a bar on a terminal, plain lines elsewhere. On stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import Progress

from jobs.execution.secret_filter import redacted
from jobs.terminal.output import say
from jobs.terminal.progress import bar

if TYPE_CHECKING:
    from forecaster.training.estimator import Progress as Trained
    from jobs.backfill.run import BackfillProgress

LINES = 4
"""Plain lines per backfill."""


@contextmanager
def backfill(title: str) -> Iterator["Lines"]:
    """Show the progress of a backfill, and of its trainings."""
    if not sys.stderr.isatty():
        yield Lines(title)
        return
    with bar(
        "{task.completed:,}/{task.total:,} {task.fields[unit]}  {task.fields[more]}", width=30
    ) as shown:
        yield _Bars(shown, title)


class Lines:
    """Reports progress in plain lines; from any thread."""

    def __init__(self, title: str) -> None:
        self._title, self._part, self._started = title, 0, monotonic()

    def ticks(self, at: "BackfillProgress") -> None:
        """Show how many ticks are done."""
        part = LINES * at.ticks // at.total
        if part > self._part:
            self._part = part
            say(f"{self._title}: {at.ticks:,}/{at.total:,} ticks, {self._rate(at)}")

    def training(self, at: "Trained") -> None:
        """Show the progress of training a model."""
        if at.step == at.steps:
            say(f"{self._title}: trained a model in {at.steps} steps, loss {at.loss:.4f}")

    def notify(self, text: str) -> None:
        """Print a message on a line of its own."""
        say(text)

    def _rate(self, at: "BackfillProgress") -> str:
        return f"{at.rows / max(1e-9, monotonic() - self._started):,.0f} rows/s"


class _Bars(Lines):
    def __init__(self, bars: Progress, title: str) -> None:
        super().__init__(title)
        self._bars = bars
        self._ticks = bars.add_task(title, total=1, unit="ticks", more="", visible=False)
        self._training = bars.add_task("training", total=1, unit="steps", more="", visible=False)

    def ticks(self, at: "BackfillProgress") -> None:
        more = f"{at.forecasts:,} forecasts  {self._rate(at)}"
        self._bars.update(self._ticks, completed=at.ticks, total=at.total, more=more, visible=True)

    def training(self, at: "Trained") -> None:
        self._bars.update(
            self._training,
            completed=at.step,
            total=at.steps,
            more=f"loss {at.loss:.4f}",
            visible=at.step < at.steps,
        )

    def notify(self, text: str) -> None:
        self._bars.console.print(redacted(text), markup=False, highlight=False)
