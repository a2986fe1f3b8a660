"""Train a model on the way, as a retraining at that tick would have done, and keep it."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

import polars as pl
from sqlalchemy import Engine

from forecaster import training
from forecaster.config import DatasetConfig
from forecaster.store import backfills
from forecaster.store.backfills import TickRow
from forecaster.store.engine import reading, writing
from forecaster.store.guards import Limit
from forecaster.training import Progress
from jobs import retrain
from jobs.backfill.patience import Patience
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
    patience: Patience

    def model_of(self, tick: datetime) -> tuple[int, bool]:
        """Return the model of `tick` and whether it was trained only now.

        InsufficientHistory, or whatever else ends a training; Stopped when the end was asked for.
        """
        known = self.patience.until_done(partial(self._trained_before, tick))
        return (self._train(tick), True) if known is None else (known, False)

    def _trained_before(self, tick: datetime) -> int | None:
        name = self.dataset.name
        with reading(self.engine) as conn:
            done = backfills.done(conn, name, JOB, since=tick, until=tick).get(tick)
            usable = backfills.weighty(conn, name)
        return None if done is None or done.model_id not in usable else done.model_id

    def _train(self, tick: datetime) -> int:
        started = self.clock()
        history = self.patience.until_done(partial(self._read, tick))
        panel, spec = training.prepare(history, self.dataset)
        limit = Limit(dataset=self.dataset.name)

        def watch(progress: Progress | None) -> None:
            limit.check()
            self.patience.watch(progress)

        with limit.stage("fit", self.dataset.deadlines.train):
            fitted = self.fit(panel, spec, self.dataset.training, watch=watch)
        challenger = Challenger(panel=panel, fitted=fitted)
        return self.patience.until_done(partial(self._keep, tick, challenger, started))

    def _read(self, tick: datetime) -> pl.DataFrame:
        with reading(self.engine) as conn:
            return self.memory.history(conn, tick)

    def _keep(self, tick: datetime, challenger: Challenger, started: datetime) -> int:
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
                report={"model_id": model_id, "scores": dict(challenger.fitted.scores)},
            )
            backfills.claim(conn, self.dataset.name, JOB, [row], again=True)
        return model_id
