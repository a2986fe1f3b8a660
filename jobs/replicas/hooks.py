"""What a replica calls when its leases change, and the clocks it goes by."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from forecaster.store.connection.limits import Fence
from jobs.execution.clock import Clock, uptime, wall

log = logging.getLogger("forecaster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Called when the lease on a dataset changes, and with the clock skew.

    They are called in the thread that renews the leases, so they must not wait for anything.
    """

    changed: Callable[[str, Fence | None], None] = lambda _dataset, _fence: None
    """A lease was taken or its token changed; or it is not ours any more (None)."""
    skewed: Callable[[float], None] = lambda _seconds: None
    """By how many seconds the clock of the database is ahead of ours."""
    clock: Clock = wall
    uptime: Callable[[], float] = uptime


def notify(hook: Callable[..., None], *values: object) -> None:
    """Call a hook; what it raises is logged and keeps no lease from being renewed."""
    try:
        hook(*values)
    except Exception:
        log.exception("could not notify the service of a lease change")
