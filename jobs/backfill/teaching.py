"""Train a model on the way, as a retraining at that tick would have done, and keep it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from forecaster import training
from forecaster.config import DatasetConfig
from forecaster.store import backfills
from forecaster.store.backfills import TickRow
from forecaster.store.engine import reading, writing
from jobs import retrain
from jobs.backfill.recall import Memory
from jobs.retrain import Challenger, Fit
from jobs.ticks import Clock

JOB = "backfill-train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """Trains the models of ticks at which none was in service; one that is there is used again."""

    engine: Engine
    dataset: DatasetConfig
    memory: Memory
    fit: Fit
    clock: Clock

    def model_of(self, tick: datetime) -> tuple[int, bool]:
        """Return the model of `tick` and whether it was trained only now.

        InsufficientHistory, or whatever else ends a training.
        """
        known = self._trained_before(tick)
        return (self._train(tick), True) if known is None else (known, False)

    def _trained_before(self, tick: datetime) -> int | None:
        name = self.dataset.name
        with reading(self.engine) as conn:
            done = backfills.done(conn, name, JOB, since=tick, until=tick).get(tick)
            usable = backfills.weighty(conn, name)
        return None if done is None or done.model_id not in usable else done.model_id

    def _train(self, tick: datetime) -> int:
        started = self.clock()
        with reading(self.engine) as conn:
            history = self.memory.history(conn, tick)
        panel, spec = training.prepare(history, self.dataset)
        fitted = self.fit(panel, spec, self.dataset.training)
        challenger = Challenger(panel=panel, fitted=fitted)
        with writing(self.engine) as conn:
            now = self.clock()
            model_id = retrain.keep(
                conn, self.dataset.name, challenger, now=now, reason=f"backfill of {tick:%Y-%m-%d}"
            )
            row = TickRow(
                tick=tick,
                state="succeeded",
                started_at=started,
                finished_at=now,
                report={"model_id": model_id, "scores": dict(fitted.scores)},
            )
            backfills.claim(conn, self.dataset.name, JOB, [row], again=True)
        return model_id
