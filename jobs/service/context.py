"""What the worker groups of a process share, whatever the configuration."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine

from forecaster.store.connection.limits import Fence
from jobs.execution.clock import Clock
from jobs.scheduling.catch_up import JobStates
from jobs.scheduling.idle import ActivityCounters
from jobs.telemetry.metrics import Telemetry


class RunningJobs:
    """The jobs that run in this process, in whatever worker groups."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._names: set[str] = set()

    @contextmanager
    def doing(self, name: str) -> Iterator[bool]:
        """Count the block as running; False when it already is, and must not run twice."""
        with self._changed:
            is_first = name not in self._names
            self._names.add(name)
        try:
            yield is_first
        finally:
            if is_first:
                with self._changed:
                    self._names.discard(name)
                    self._changed.notify_all()

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait for the running jobs; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._names, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What worker groups share, whatever the configuration."""

    engine: Engine
    telemetry: Telemetry
    clock: Clock
    stopping: threading.Event
    using: Callable[[str], AbstractContextManager[Fence | None]]
    """Keeps the lease of a dataset while it is in use; None if another replica holds it."""
    busy: RunningJobs = field(default_factory=RunningJobs)
    job_states: JobStates = field(default_factory=JobStates)
    counters: ActivityCounters = field(default_factory=ActivityCounters)
