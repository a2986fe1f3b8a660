"""Waiting in tests: how fast something is depends on what else the machine does, and is no test."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 60.0
"""Seconds after which a test counts as hung, on however busy a machine."""


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something is so, and tell whether it came to be."""
    until = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


@contextmanager
def not_hanging(*, least: float = 0.0) -> Iterator[None]:
    """Assert that a block takes at least so many seconds, and less than what nobody cuts."""
    began = time.monotonic()
    until = began + PATIENCE
    yield
    ended = time.monotonic()
    assert ended - began >= least, f"must take {least:g} s, took {ended - began:.3f} s"
    assert ended < until, "hung"
