"""How each dataset is doing: its state, and the facts that it follows from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.store.state import health
from forecaster.store.state.health import Facts
from jobs.execution import reports
from jobs.execution.reports import Json
from jobs.telemetry.dataset_state import Lifecycle, lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One dataset: its state, and the facts that it follows from."""

    facts: Facts
    lifecycle: Lifecycle

    def document(self) -> dict[str, Json]:
        """Return the entry of a dataset in /datasets and `forecaster status --json`."""
        serving, last = self.facts.serving, self.facts.last_forecast
        return reports.document(
            {
                "name": self.facts.dataset,
                "state": self.lifecycle.state,
                "progress": self.lifecycle.progress,
                "reason": self.lifecycle.reason,
                "since": self.lifecycle.since,
                "model": None if serving is None else serving.model_id,
                "trained_to": None if serving is None else serving.trained_to,
                "newest_observation": self.facts.newest_observation,
                "last_forecast": None if last is None else last.tick,
            }
        )


def examine(conn: Connection, datasets: Mapping[str, DatasetConfig], now: datetime) -> list[Health]:
    """Return the health of all configured datasets, and of those that once were."""
    return healths(health.facts(conn, datasets), datasets, now)


def healths(
    facts: Iterable[Facts], datasets: Mapping[str, DatasetConfig], now: datetime
) -> list[Health]:
    """Return the health that follows from facts."""
    return [
        Health(facts=part, lifecycle=lifecycle(part, datasets.get(part.dataset), now))
        for part in facts
    ]
