"""The health of the service and its datasets: the responses of /livez, /readyz and /datasets.

Each responds within a second, whatever the database does: one thread at a time queries it, and the
result is cached for some seconds.
"""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Generic, TypeVar

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import ForecasterError, StageTimedOut
from forecaster.store.connection.engine import autocommit, reading
from forecaster.store.connection.limits import bounded
from forecaster.store.maintenance import migrations
from forecaster.store.state import activity
from jobs.execution import hang_detection
from jobs.execution.clock import Clock
from jobs.execution.reports import Json
from jobs.telemetry.health import Health, examine

T = TypeVar("T")

DEAD_AFTER = 30.0
"""Seconds without a heartbeat of the scheduler, or of the lease thread, that mean it is dead."""
CACHED_SECONDS = 5.0
"""Seconds for which a result is cached."""
WITHIN = timedelta(seconds=1)
"""How long the database may take."""
NO_ANSWER = f"no response from the database within {WITHIN.total_seconds():g} s"


def live(silent_for: Mapping[str, Callable[[], float]]) -> list[str]:
    """Return why the service is not alive; a database that is down is no reason to restart it.

    `silent_for` returns the seconds since the last heartbeat, by the name of each thread.
    """
    silences = {name: seconds() for name, seconds in silent_for.items()}
    return [
        f"{name}: no heartbeat for {seconds:.0f} s"
        for name, seconds in silences.items()
        if seconds > DEAD_AFTER
    ] + hang_detection.overdue()


class CachedAnswer(Generic[T]):
    """The result of a query that runs every few seconds at most, and in one thread at a time.

    No caller waits longer than WITHIN for it.
    """

    def __init__(self, query: Callable[[], T], *, fallback: T) -> None:
        """`fallback` is returned while there is no result in time."""
        self._query, self._silence, self._answer = query, fallback, fallback
        self._lock = threading.Lock()
        self._is_answered = threading.Event()
        self._is_answered.set()
        self._asked_at = self._answered_at = float("-inf")

    def __call__(self) -> T:
        """Return the newest result; an old one is queried again."""
        with self._lock:
            is_old = time.monotonic() - self._answered_at > CACHED_SECONDS
            if self._is_answered.is_set() and is_old:
                self._is_answered.clear()
                self._asked_at = time.monotonic()
                threading.Thread(target=self._refresh, name="probe", daemon=True).start()
        left = self._asked_at + WITHIN.total_seconds() - time.monotonic()
        return self._answer if self._is_answered.wait(max(0.0, left)) else self._silence

    def _refresh(self) -> None:
        try:
            self._answer = self._query()
        finally:
            self._answered_at = time.monotonic()
            self._is_answered.set()


def reasons_not_to_be_ready(engine: Engine, datasets: Mapping[str, DatasetConfig]) -> list[str]:
    """Return why the service is not ready: database, schema, or a dataset without a model."""
    try:
        with bounded(engine, "answer", WITHIN) as brief:
            migrations.require_head(brief)
            with autocommit(brief) as conn:
                marks = activity.read(conn).marks
    except StageTimedOut:
        return [NO_ANSWER]
    except ForecasterError as error:
        return [error.message]
    served = {name for name, mark in marks.items() if mark.champion is not None}
    return [f"{name} has no model in service yet" for name in datasets if name not in served]


def healths(
    engine: Engine, datasets: Mapping[str, DatasetConfig], clock: Clock
) -> list[Health] | None:
    """Return the health of all datasets; None while the database does not answer."""
    try:
        with bounded(engine, "answer", WITHIN) as brief, reading(brief) as conn:
            return examine(conn, datasets, clock())
    except ForecasterError:
        return None


class Probes:
    """What the endpoints and telemetry report of the datasets in service."""

    def __init__(
        self, engine: Engine, datasets: Mapping[str, DatasetConfig], *, clock: Clock
    ) -> None:
        self._datasets = datasets
        self.ready = CachedAnswer(
            lambda: reasons_not_to_be_ready(engine, self._datasets),
            fallback=[NO_ANSWER],
        )
        self.healths = CachedAnswer(lambda: healths(engine, self._datasets, clock), fallback=None)

    def serve(self, datasets: Mapping[str, DatasetConfig]) -> None:
        """Report other datasets from now on."""
        self._datasets = datasets

    def documents(self) -> list[Json] | None:
        """Return the health of every dataset as JSON; None while the database does not answer."""
        healths = self.healths()
        return None if healths is None else [health.document() for health in healths]
