"""Close connections that are past their deadline.

When packets are dropped silently, no driver returns by itself: neither a server's timeout nor the
kernel's keepalives end the wait. A thread shuts the socket down, and the driver fails at once.
"""

import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

Remaining = Callable[[], float]
"""Returns the seconds that are left; the value may change at any time."""

GRACE = 1.0
"""Seconds in which the server may cancel by itself, which keeps the connection usable."""
_LOOK_EVERY = 0.1
_CANCEL_SECONDS = 0.3
_STEPS_BETWEEN_LOOKS = 20_000
"""Steps of SQLite's machine between looks at the clock: a millisecond or less."""


@dataclass(slots=True, eq=False)
class _WatchedConnection:
    """A connection in use; `socket` is a duplicate of its socket."""

    driver: psycopg.Connection
    socket: socket.socket
    remaining: Remaining
    _use: threading.Lock = field(default_factory=threading.Lock)
    _is_over: bool = False

    def cut(self) -> None:
        """End the statement where the server can be reached, and the connection in any case.

        Does nothing once it was handed to another caller: a cancel would end its statement.
        """
        with self._use:
            if self._is_over:
                return
            asking = threading.Thread(target=self._cancel, daemon=True)
            asking.start()
            asking.join(_CANCEL_SECONDS)
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Release the connection; waits for a close in progress, after which it is unusable."""
        with self._use:
            self._is_over = True
            self.socket.close()

    def _cancel(self) -> None:
        with suppress(psycopg.Error):
            self.driver.cancel_safe(timeout=_CANCEL_SECONDS)


class Watchdog:
    """One thread, started when first needed, that watches all connections in use."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: set[_WatchedConnection] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, driver: psycopg.Connection, remaining: Remaining) -> Iterator[None]:
        """Close the connection a little after its deadline, unless the block ends before."""
        line = _WatchedConnection(
            driver, socket.socket(fileno=os.dup(driver.pgconn.socket)), remaining
        )
        with self._changed:
            self._lines.add(line)
            self._start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._lines.discard(line)
            line.end()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        while True:
            for line in self._overdue():
                line.cut()

    def _overdue(self) -> list[_WatchedConnection]:
        with self._changed:
            self._changed.wait(_LOOK_EVERY if self._lines else None)
            overdue = [line for line in self._lines if line.remaining() < -GRACE]
            self._lines.difference_update(overdue)
            return overdue


_watchdog = Watchdog()
watching = _watchdog.watching


@contextmanager
def interrupting(driver: sqlite3.Connection, remaining: Remaining) -> Iterator[None]:
    """Interrupt a SQLite statement at its deadline; lock waits have their own timeout."""
    driver.set_progress_handler(lambda: remaining() < 0, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
