"""Detects stages that cannot be cancelled, such as a forward pass, when they hang.

A wait for a database or a source is cancelled at its deadline. A computation checks its deadline
between two blocks; one that never does can only be ended with the process.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from forecaster.store.connection.limits import Limit

NOTICED = 30.0
"""Seconds after its deadline from which on a stage makes the program not live."""
HOPELESS = 120.0
"""Seconds after its deadline at which the program ends itself: a restart carries on."""

_lock = threading.Lock()
_under_way: dict[Limit, str] = {}


@contextmanager
def watching(name: str, limit: Limit) -> Iterator[None]:
    """Watch the stages of `limit` while the block runs."""
    with _lock:
        _under_way[limit] = name
    try:
        yield
    finally:
        with _lock:
            del _under_way[limit]


def overdue(*, by: float = NOTICED) -> list[str]:
    """Return what is over its deadline by more than `by` seconds, in words."""
    with _lock:
        delays = [(name, limit.overdue()) for limit, name in _under_way.items()]
    return [
        f"{name} is hung: {seconds:.0f} s past its deadline"
        for name, seconds in delays
        if seconds > by
    ]
