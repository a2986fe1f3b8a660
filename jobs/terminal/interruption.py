"""The first SIGTERM or Ctrl-C asks a long command for a clean end, the second ends it at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from jobs.terminal.output import say

INTERRUPTED = 128 + signal.SIGINT


class StopRequest:
    """Whether somebody asked for the end, and how."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._number = 0

    @property
    def status(self) -> int:
        """The exit status that says so."""
        return 128 + self._number

    def note(self, number: int) -> None:
        """Take a signal; the second one ends the process."""
        if self.stopping.is_set():
            os._exit(128 + number)
        self._number = number
        self.stopping.set()


@contextmanager
def interruptible(on_first: Callable[[], None]) -> Iterator[StopRequest]:
    """Take signals while the block runs; `on_first` is called at the first one, in a thread."""
    found = StopRequest()

    def stop(number: int, _: FrameType | None) -> None:
        found.note(number)
        # What was interrupted may hold the lock of a stream.
        threading.Thread(target=on_first).start()

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_ctrl_c(left: str) -> Iterator[None]:
    """End with one line, which says what is `left`, when somebody presses Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; {left}")
        raise typer.Exit(INTERRUPTED) from None
