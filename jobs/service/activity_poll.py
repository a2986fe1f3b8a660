"""Follows what the tables say of all datasets: one statement every ten seconds.

From it follows which worker groups have to look, whether the service is ready, and whether the
state of each dataset is worth a query. Nothing else is asked of a database while nothing is due.
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
from jobs.telemetry.dataset_state import lifecycle
from jobs.telemetry.health import Health
from jobs.telemetry.metrics import Telemetry

EVERY = 10.0
"""Seconds between two looks: so soon it is seen what others did."""
FACTS_EVERY = 60.0
"""Seconds after which it is asked how each dataset is although no run and no model changed."""
WITHIN = timedelta(seconds=5)
"""How long a look may take."""


class ActivityPoll:
    """What is known of all datasets in service; one thread looks."""

    def __init__(
        self, engine: Engine, telemetry: Telemetry, counters: ActivityCounters, clock: Clock
    ) -> None:
        self._engine, self._telemetry, self._counters, self._clock = (
            engine,
            telemetry,
            counters,
            clock,
        )
        self._looked = self._asked = float("-inf")
        self._marks: Mapping[str, Mark] = {}
        self._facts: list[Facts] = []

    def look(self, datasets: Mapping[str, DatasetConfig]) -> set[str]:
        """Ask what happened, unless that was done a moment ago; return the datasets that somebody
        has to look at."""
        if self._counters.now() - self._looked < EVERY:
            return set()
        self._looked = self._counters.now()
        try:
            with bounded(self._engine, "look", WITHIN) as brief:
                with autocommit(brief) as conn:
                    found = activity.read(conn)
                changed = self._counters.hear(found.marks)
                self._show(brief, found, datasets)
        except ForecasterError:
            self._telemetry.ready.set(0)
            return set()
        return changed

    def _show(self, engine: Engine, found: Activity, datasets: Mapping[str, DatasetConfig]) -> None:
        is_ready = found.revision == migrations.head() and all(
            found.marks.get(name, Mark()).champion is not None for name in datasets
        )
        self._telemetry.ready.set(is_ready)
        is_old = self._counters.now() - self._asked > FACTS_EVERY
        if is_old or found.marks != self._marks or not {*datasets} <= self._known():
            with reading(engine) as conn:
                self._facts = health.facts(conn, datasets)
            self._marks, self._asked = found.marks, self._counters.now()
        now = self._clock()
        record.health(
            self._telemetry,
            [
                Health(facts=each, lifecycle=lifecycle(each, datasets.get(each.dataset), now))
                for each in self._facts
            ],
        )

    def _known(self) -> set[str]:
        return {each.dataset for each in self._facts}
