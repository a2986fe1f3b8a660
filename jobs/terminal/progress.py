"""Progress of a training: a bar on a terminal, plain lines elsewhere. On stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from jobs.terminal.output import say

if TYPE_CHECKING:
    from forecaster.training.estimator import Progress as Trained

LINES, PARTS = 4, 10
"""Plain lines per training, and of anything else that is counted."""


@contextmanager
def bar(*texts: str, width: int = 40) -> Iterator[Progress]:
    """Show bars with their titles, `texts` and the remaining time."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=width),
        *map(TextColumn, texts),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield shown


@contextmanager
def training(title: str) -> Iterator[Callable[["Trained"], None]]:
    """Show how far a training is; the value is called with each report of the child."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    with bar("step {task.completed}/{task.total}  loss {task.fields[loss]:.4f}") as shown:
        task = shown.add_task(title, total=None, loss=float("nan"))
        yield lambda at: shown.update(task, completed=at.step, total=at.steps, loss=at.loss)


def _lines(title: str) -> Callable[["Trained"], None]:
    shown = 0

    def show(at: "Trained") -> None:
        nonlocal shown
        shown = min(shown, LINES * at.step // at.steps)  # the next training starts at 0
        if LINES * at.step // at.steps > shown:
            shown = LINES * at.step // at.steps
            say(f"{title}: step {at.step}/{at.steps}, loss {at.loss:.4f}")

    return show


@contextmanager
def counting() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far several things are; the value is called with a title, how many, and of how
    many."""
    if not sys.stderr.isatty():
        yield _Counted()
        return
    with bar("{task.completed}/{task.total}") as shown:
        tasks: dict[str, TaskID] = {}

        def show(title: str, done: int, total: int) -> None:
            if title not in tasks:
                tasks[title] = shown.add_task(title, total=total)
            shown.update(tasks[title], completed=done)

        yield show


class _Counted:
    """Plain lines: the beginning of each thing that is counted, and every tenth part of it."""

    def __init__(self) -> None:
        self._parts: dict[str, int] = {}

    def __call__(self, title: str, done: int, total: int) -> None:
        part = PARTS * done // total if total else PARTS
        if part > self._parts.get(title, -1):
            self._parts[title] = part
            say(f"{title}: {done} of {total}")
