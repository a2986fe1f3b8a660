"""How a training shows itself: a bar on a terminal, plain lines elsewhere. On stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.commands.output import say

if TYPE_CHECKING:
    from forecaster.training import Progress as Trained

LINES = 4
"""Plain lines per training."""


@contextmanager
def training(title: str) -> Iterator[Callable[["Trained"], None]]:
    """Show how far a training is; the value is called with each report of the child."""
    if sys.stderr.isatty():
        with _bar(title) as show:
            yield show
    else:
        yield _lines(title)


@contextmanager
def _bar(title: str) -> Iterator[Callable[["Trained"], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        TextColumn("step {task.completed}/{task.total}  loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, loss=float("nan"))
        yield lambda at: bar.update(task, completed=at.step, total=at.steps, loss=at.loss)


def _lines(title: str) -> Callable[["Trained"], None]:
    shown = 0

    def show(at: "Trained") -> None:
        nonlocal shown
        if LINES * at.step // at.steps > shown:
            shown = LINES * at.step // at.steps
            say(f"{title}: step {at.step}/{at.steps}, loss {at.loss:.4f}")

    return show
