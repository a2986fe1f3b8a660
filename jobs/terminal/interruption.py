"""The first SIGTERM or Ctrl-C stops a long command cleanly, the second ends it at once."""

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
    """Whether a stop was requested, and by which signal."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._number = 0

    @property
    def status(self) -> int:
        """The exit status of a command that was stopped."""
        return 128 + self._number

    def note(self, number: int) -> None:
        """Record a signal; the second one ends the process."""
        if self.stopping.is_set():
            os._exit(128 + number)
        self._number = number
        self.stopping.set()


@contextmanager
def interruptible(on_first: Callable[[], None]) -> Iterator[StopRequest]:
    """Handle signals while the block runs; `on_first` is called at the first one, in a thread."""
    request = StopRequest()

    def stop(number: int, _: FrameType | None) -> None:
        request.note(number)
        # What was interrupted may hold the lock of a stream.
        threading.Thread(target=on_first).start()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
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
