"""Polls the activity of all datasets: one statement every ten seconds.

Its result shows which worker groups have something to do, whether the service is ready, and whether
the state of each dataset must be queried. While nothing is due there are no other queries.
"""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import ForecasterError
from forecaster.store.connection.engine import autocommit, reading
from forecaster.store.connection.limits import bounded
from forecaster.store.maintenance import migrations
from forecaster.store.state import activity, health
from forecaster.store.state.activity import Activity, Mark
from forecaster.store.state.health import Facts
from jobs.execution.clock import Clock
from jobs.scheduling.idle import ActivityCounters
from jobs.telemetry import record
from jobs.telemetry.health import healths
from jobs.telemetry.metrics import Telemetry

EVERY = 10.0
"""Seconds between two polls: so soon it is seen what other processes did."""
FACTS_EVERY = 60.0
"""Seconds after which the state of each dataset is queried although nothing changed."""
WITHIN = timedelta(seconds=5)
"""How long a poll may take."""


class ActivityPoll:
    """The activity of all datasets in service; used by one thread."""

    def __init__(
        self, engine: Engine, telemetry: Telemetry, counters: ActivityCounters, clock: Clock
    ) -> None:
        self._engine, self._telemetry = engine, telemetry
        self._counters, self._clock = counters, clock
        self._polled = self._queried = float("-inf")
        self._marks: Mapping[str, Mark] = {}
        self._facts: list[Facts] = []

    def poll(self, datasets: Mapping[str, DatasetConfig]) -> set[str]:
        """Query the activity, unless done a moment ago; return the datasets that changed."""
        if self._counters.now() - self._polled < EVERY:
            return set()
        self._polled = self._counters.now()
        try:
            with bounded(self._engine, "look", WITHIN) as brief:
                with autocommit(brief) as conn:
                    current = activity.read(conn)
                changed = self._counters.update(current.marks)
                self._show(brief, current, datasets)
        except ForecasterError:
            self._telemetry.ready.set(0)
            return set()
        return changed

    def _show(
        self, engine: Engine, current: Activity, datasets: Mapping[str, DatasetConfig]
    ) -> None:
        is_ready = current.revision == migrations.head() and all(
            current.marks.get(name, Mark()).champion is not None for name in datasets
        )
        self._telemetry.ready.set(is_ready)
        known = {facts.dataset for facts in self._facts}
        is_old = self._counters.now() - self._queried > FACTS_EVERY
        if is_old or current.marks != self._marks or not {*datasets} <= known:
            with reading(engine) as conn:
                self._facts = health.facts(conn, datasets)
            self._marks, self._queried = current.marks, self._counters.now()
        record.health(self._telemetry, healths(self._facts, datasets, self._clock()))
