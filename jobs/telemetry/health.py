"""How each dataset is doing: its state, and the facts that it follows from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.store.state import health
from forecaster.store.state.health import Facts
from jobs.execution.reports import Json
from jobs.telemetry.dataset_state import Lifecycle, lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One dataset: its state, and the facts that it follows from."""

    facts: Facts
    lifecycle: Lifecycle

    def document(self) -> dict[str, Json]:
        """Return what /datasets and `forecaster status` say of it."""
        serving, last = self.facts.serving, self.facts.last_forecast
        return {
            "name": self.facts.dataset,
            "state": self.lifecycle.state,
            "progress": self.lifecycle.progress,
            "reason": self.lifecycle.reason,
            "since": _text(self.lifecycle.since),
            "model": None if serving is None else serving.model_id,
            "trained_to": None if serving is None else _text(serving.trained_to),
            "newest_observation": _text(self.facts.newest_observation),
            "last_forecast": None if last is None else _text(last.tick),
        }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def examine(conn: Connection, datasets: Mapping[str, DatasetConfig], now: datetime) -> list[Health]:
    """Return the health of all configured datasets, and of those that once were."""
    return [
        Health(facts=facts, lifecycle=lifecycle(facts, datasets.get(facts.dataset), now))
        for facts in health.facts(conn, datasets)
    ]
