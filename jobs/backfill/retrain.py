"""Train and store a model as a retraining at a past tick would have done."""

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
from jobs.retrain import Challenger, Fit, Prepared
from jobs.stages import training_history
from jobs.stages.training_history import Drawn

JOB = "backfill-train"
_RELEVANT = (
    "step", "prediction_length", "timezone", "timestamp_marks", "calendar", "delay", "history",
    "model", "training",
)  # fmt: skip
_MACHINE = ("device", "memory_limit_gb", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTrainer:
    """Trains the models of ticks at which none was in service; existing ones are used again."""

    engine: Engine
    dataset: DatasetConfig
    history: KnownHistory
    fit: Fit
    clock: Clock
    retry_policy: RetryPolicy

    def model_of(self, tick: datetime) -> tuple[int, bool]:
        """Return the model of `tick` and whether it was trained now.

        Any error of a training, such as InsufficientHistory; Stopped when the backfill is stopped.
        """

        def find() -> int | None:
            with reading(self.engine) as conn:
                return self._trained_before(conn, tick)

        known = self.retry_policy.until_done(find)
        return (self._train(tick), True) if known is None else (known, False)

    def _trained_before(self, conn: Connection, tick: datetime) -> int | None:
        """Return the model of `tick` if it was trained as it would be now."""
        report = backfills.report_of(conn, self.dataset.name, JOB, tick) or {}
        usable = backfills.loadable_models(conn, self.dataset.name)
        model_id = report.get("model_id")
        is_alike = report.get("fingerprint") == self.fingerprint
        return model_id if is_alike and model_id in usable else None

    @property
    def fingerprint(self) -> str:
        """A digest of the settings that a training depends on."""
        settings = asdict(self.dataset)
        relevant = {name: settings[name] for name in _RELEVANT} | {"groups": self.dataset.groups}
        relevant["training"] = {
            name: value for name, value in relevant["training"].items() if name not in _MACHINE
        }
        text = json.dumps([relevant, self.history.known_after], default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _train(self, tick: datetime) -> int:
        started = self.clock()
        prepared = self._prepare(tick)
        limit = Limit(dataset=self.dataset.name)

        def watch(progress: Progress | None) -> None:
            limit.check()
            self.retry_policy.watch(progress)

        with limit.stage("fit", self.dataset.deadlines.train):
            panel, spec = prepared.panel, prepared.spec
            fitted = self.fit(panel, spec, self.dataset.training, watch=watch)
        challenger = prepared.trained(fitted)
        return self.retry_policy.until_done(partial(self._store, tick, challenger, started))

    def _prepare(self, tick: datetime) -> Prepared:
        known = retrain.known_at(self.dataset, tick)
        read_cells = partial(self.history.read_cells, tick)

        def read() -> tuple[pl.DataFrame, Drawn, pl.DataFrame]:
            with reading(self.engine) as conn:
                observed = training_history.read(conn, self.dataset, known, read_cells)
                return *observed, self.history.recent_versions(conn, tick)

        observed, drawn, recent_versions = self.retry_policy.until_done(read)
        panel, spec = preparation.prepare(
            observed, self.dataset, known=known, versions=recent_versions
        )
        del observed

        def scales() -> dict[str, float]:
            with reading(self.engine) as conn:
                return training_history.other_scales(
                    conn, self.dataset, known, read_cells, drawn=drawn, spec=spec
                )

        return Prepared(
            panel=panel,
            spec=spec,
            other_scales=self.retry_policy.until_done(scales),
            extent=drawn.extent,
        )

    def _store(self, tick: datetime, challenger: Challenger, started: datetime) -> int:
        """Store the model, unless another process trained the same meanwhile."""
        name, now = self.dataset.name, self.clock()
        with writing(self.engine) as conn:
            datasets.lock(conn, name)
            known = self._trained_before(conn, tick)
            if known is not None:
                return known
            reason = f"backfill of {tick:%Y-%m-%d}"
            model_id = retrain.store(conn, name, challenger, now=now, reason=reason)
            row = TickRow(
                tick=tick,
                state="succeeded",
                started_at=started,
                finished_at=now,
                report={
                    "model_id": model_id,
                    "fingerprint": self.fingerprint,
                    "scores": dict(challenger.fitted.scores),
                },
            )
            backfills.claim(conn, name, JOB, [row], again=True)
        return model_id
