"""One training from scratch, as a user's: what it cost in processor time, everything included."""

import time
from dataclasses import dataclass

import polars as pl

from benchmarks.tables import Cell
from forecaster.config.settings import DatasetConfig
from forecaster.inference.checkpoint import TrainedModel
from forecaster.training import estimator, preparation


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model and the processor seconds from observations to model; `windows` drawn to train."""

    model: TrainedModel
    cpu_seconds: float
    windows: float

    def costs(self) -> dict[str, Cell]:
        """Return the columns of a table."""
        return {
            "train_cpu_s": self.cpu_seconds,
            "windows_per_cpu_s": self.windows / self.cpu_seconds,
            "fallback": self.model.fallback,
        }


def fitted(observations: pl.DataFrame, config: DatasetConfig) -> Fitted:
    """Train on all of `observations`; the clock counts every thread of this process."""
    started = time.process_time()
    panel, spec = preparation.prepare(observations, config)
    result = estimator.fit(panel, spec, config.training)
    return Fitted(
        model=result.model,
        cpu_seconds=time.process_time() - started,
        windows=result.windows_per_second * result.seconds,
    )
