"""The models in service, read once and kept in memory until another one is promoted."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from forecaster.config import DatasetConfig
from forecaster.model import checkpoint
from forecaster.model.checkpoint import TrainedModel
from forecaster.store import models


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """A model in service, ready to forecast."""

    model_id: int
    trained_to: datetime
    model: TrainedModel

    def cutoff(self, known: datetime) -> datetime:
        """Return the last grid instant that may be used when everything up to `known` is in."""
        grid = self.model.spec.grid()
        return grid.timestamp_at(grid.index_at(known))

    def context_start(self, cutoff: datetime) -> datetime:
        """Return the first grid instant of the context that ends at `cutoff`."""
        grid = self.model.spec.grid()
        return grid.timestamp_at(grid.index_at(cutoff) - self.model.spec.context_length + 1)


class Champions:
    """One loaded champion per dataset."""

    def __init__(self) -> None:
        self._loaded: dict[str, Champion] = {}

    def load(self, conn: Connection, dataset: DatasetConfig) -> Champion:
        """Return the model in service; NoChampion, or IncompatibleCheckpoint if it is damaged.

        Only those of its plug-ins are imported that `dataset` names: else IncompatibleCheckpoint.
        """
        stored = models.champion(conn, dataset.name)
        loaded = self._loaded.get(dataset.name)
        if loaded is None or loaded.model_id != stored.model_id:
            loaded = Champion(
                model_id=stored.model_id,
                trained_to=stored.trained_to,
                model=checkpoint.loads(stored.weights, stored.sha256, dataset.model.plugins),
            )
            self._loaded[dataset.name] = loaded
        return loaded
