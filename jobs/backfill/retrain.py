"""Train a model on the way, as a retraining at that tick would have done, and keep it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial

import polars as pl
from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Limit
from forecaster.store.forecasts import backfills
from forecaster.store.forecasts.backfills import TickRow
from forecaster.store.state import datasets
from forecaster.training import preparation
from forecaster.training.estimator import Progress
from jobs import retrain
from jobs.backfill.known_values import KnownHistory
from jobs.backfill.retries import RetryPolicy
from jobs.execution.clock import Clock
from jobs.retrain import Challenger, Fit

JOB = "backfill-train"
_LEARNT = (
    "step", "prediction_length", "timezone", "timestamp_marks", "calendar", "delay", "history",
    "model", "training",
)  # fmt: skip
_MACHINE = ("device", "memory_limit_gb")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTrainer:
    """Trains the models of ticks at which none was in service; one that is there is used again."""

    engine: Engine
    dataset: DatasetConfig
    memory: KnownHistory
    fit: Fit
    clock: Clock
    retry_policy: RetryPolicy

    def model_of(self, tick: datetime) -> tuple[int, bool]:
        """Return the model of `tick` and whether it was trained only now.

        InsufficientHistory, or whatever else ends a training; Stopped when the end was asked for.
        """
        known = self.retry_policy.until_done(partial(self._look, tick))
        return (self._train(tick), True) if known is None else (known, False)

    def _look(self, tick: datetime) -> int | None:
        with reading(self.engine) as conn:
            return self._trained_before(conn, tick)

    def _trained_before(self, conn: Connection, tick: datetime) -> int | None:
        """Return the model of `tick` if it was trained as it would be now."""
        report = backfills.report_of(conn, self.dataset.name, JOB, tick) or {}
        usable = backfills.loadable_models(conn, self.dataset.name)
        model_id = report.get("model_id")
        return model_id if model_id in usable and report.get("lesson") == self.lesson else None

    @property
    def lesson(self) -> str:
        """What a training depends on, apart from what was known: a digest of the settings."""
        settings = asdict(self.dataset)
        learnt = {name: settings[name] for name in _LEARNT} | {"groups": self.dataset.groups}
        learnt["training"] = {
            name: value for name, value in learnt["training"].items() if name not in _MACHINE
        }
        text = json.dumps([learnt, self.memory.known_after], default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _train(self, tick: datetime) -> int:
        started = self.clock()
        history, heard = self.retry_policy.until_done(partial(self._read, tick))
        known = retrain.known_at(self.dataset, tick)
        panel, spec = preparation.prepare(history, self.dataset, known=known, versions=heard)
        limit = Limit(dataset=self.dataset.name)

        def watch(progress: Progress | None) -> None:
            limit.check()
            self.retry_policy.watch(progress)

        with limit.stage("fit", self.dataset.deadlines.train):
            fitted = self.fit(panel, spec, self.dataset.training, watch=watch)
        challenger = Challenger(panel=panel, fitted=fitted)
        return self.retry_policy.until_done(partial(self._keep, tick, challenger, started))

    def _read(self, tick: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
        with reading(self.engine) as conn:
            return self.memory.history(conn, tick), self.memory.heard(conn, tick)

    def _keep(self, tick: datetime, challenger: Challenger, started: datetime) -> int:
        """Keep what was trained, unless somebody else trained the same meanwhile."""
        name, now = self.dataset.name, self.clock()
        with writing(self.engine) as conn:
            datasets.lock(conn, name)
            known = self._trained_before(conn, tick)
            if known is not None:
                return known
            reason = f"backfill of {tick:%Y-%m-%d}"
            model_id = retrain.keep(conn, name, challenger, now=now, reason=reason)
            row = TickRow(
                tick=tick,
                state="succeeded",
                started_at=started,
                finished_at=now,
                report={
                    "model_id": model_id,
                    "lesson": self.lesson,
                    "scores": dict(challenger.fitted.scores),
                },
            )
            backfills.claim(conn, name, JOB, [row], again=True)
        return model_id
