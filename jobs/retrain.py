"""Retrain one dataset for one tick: pull, read, prepare, fit, write. Promotes what it trained."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Protocol

import polars as pl
from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig, TrainingConfig
from forecaster.data.panel import Panel
from forecaster.data.running_totals import LOOK_BACK
from forecaster.errors import StageTimedOut, StoreError
from forecaster.explain import measure
from forecaster.inference import checkpoint
from forecaster.network.spec import ModelSpec
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations, versions
from forecaster.store.state import models, runs
from forecaster.store.state.models import NewModel
from forecaster.training import estimator, preparation
from forecaster.training.estimator import Progress
from forecaster.training.sample_extent import Extent
from jobs.execution.attempt import Attempt
from jobs.execution.reports import PullReport, RetrainReport
from jobs.stages import pull, pull_progress, training_history

RECORD_EVERY = 5.0
"""Seconds between two records of the progress of a training."""
RECORD_SECONDS = 2.0
"""How long recording may take: the training does not wait for its database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A trained model as bytes, and how its training went."""

    checkpoint: bytes
    spec: str
    """That of the model as JSON, with everything that `prepare` left undetermined."""
    scores: Mapping[str, float]
    train_loss: float
    steps: int
    seconds: float
    windows_per_second: float
    device: str
    notes: Sequence[str]
    """Notes on deviations from the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """A trained model and the panel it was trained on."""

    panel: Panel
    fitted: Fitted

    @property
    def spec(self) -> ModelSpec:
        """The hyperparameters of the model."""
        return ModelSpec.from_json(self.fitted.spec)

    @property
    def trained_from(self) -> datetime:
        """The first grid instant it has seen."""
        return self.panel.grid.timestamp_at(self.panel.start)

    @property
    def trained_to(self) -> datetime:
        """The last grid instant it has seen."""
        return self.panel.grid.timestamp_at(self.panel.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """A model in service, and why."""

    model_id: int
    reason: str


OnProgress = Callable[[Progress], None]
Watch = Callable[[Progress | None], None]
"""Called regularly during a training; an exception that it raises ends the training."""


def unwatched(_: Progress | None) -> None:
    """Do not interrupt the training."""


class Fit(Protocol):
    """Trains in this process (`fit_here`) or in a child (`jobs.training_process.parent`)."""

    def __call__(
        self, panel: Panel, spec: ModelSpec, config: TrainingConfig, *, watch: Watch = unwatched
    ) -> Fitted: ...


def run(engine: Engine, dataset: DatasetConfig, attempt: Attempt, *, fit: Fit) -> RetrainReport:
    """Train on what was known at the newest forecast tick, and put the model in service.

    InsufficientHistory, TrainingDiverged or a killed training leave the champion unchanged.
    """
    deadlines = dataset.deadlines

    with attempt.stage("pull", deadlines.train):
        since = known_at(dataset, attempt.tick) - dataset.history
        pulled = pull.run(engine, dataset, now=attempt.clock(), needed_from=since)

    prepared = prepare(engine, dataset, attempt)

    with attempt.stage("fit", deadlines.train):
        panel, spec = prepared.panel, prepared.spec
        fitted = fit(panel, spec, dataset.training, watch=ProgressRecorder(engine, attempt))
        challenger = prepared.trained(fitted)

    def write(conn: Connection) -> RetrainReport:
        promoted = promote(conn, dataset.name, challenger, now=attempt.clock())
        pull_progress.advance(conn, dataset.name, pulled)
        return report_on(dataset.name, attempt.tick, challenger, promoted, pulled, attempt.seconds)

    with attempt.stage("write", deadlines.write):
        return attempt.commit(engine, write)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What to train on, and the scales of the series that a sample has left out."""

    panel: Panel
    spec: ModelSpec
    other_scales: Mapping[str, float]
    extent: Extent

    def trained(self, fitted: Fitted) -> Challenger:
        """Return the challenger that knows the scale of every series."""
        if not self.extent.is_whole:
            fitted = replace(
                fitted,
                checkpoint=checkpoint.with_scales(fitted.checkpoint, self.other_scales),
                scores={**fitted.scores, **self.extent.to_scores()},
                notes=(f"trained on {self.extent}", *fitted.notes),
            )
        return Challenger(panel=self.panel, fitted=fitted)


def prepare(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> Prepared:
    """Read what was known at the tick, and derive the shape of the model from it."""
    known, within = known_at(dataset, attempt.tick), dataset.deadlines.train
    read_cells = partial(_read_cells, dataset, known)

    with attempt.stage("read", within), reading(engine) as conn:
        observed, drawn = training_history.read(conn, dataset, known, read_cells)
        recent_versions = read_versions(conn, dataset, attempt.tick)

    with attempt.stage("prepare", within):
        panel, spec = preparation.prepare(observed, dataset, known=known, versions=recent_versions)
        del observed  # the scales of others are read into the memory that it takes

    with attempt.stage("read", within), reading(engine) as conn:
        scales = training_history.other_scales(
            conn, dataset, known, read_cells, drawn=drawn, spec=spec
        )
    return Prepared(panel=panel, spec=spec, other_scales=scales, extent=drawn.extent)


class ProgressRecorder:
    """Watches a training: records its progress, and ends it at its deadline or if its tick was
    taken over."""

    def __init__(self, engine: Engine, attempt: Attempt) -> None:
        self._engine, self._attempt = engine, attempt
        self._recorded = monotonic()

    def __call__(self, progress: Progress | None) -> None:
        self._attempt.limit.check()
        if progress is None or monotonic() - self._recorded < RECORD_EVERY:
            return
        self._recorded = monotonic()
        with (
            suppress(StoreError, StageTimedOut),
            self._attempt.limit.within(RECORD_SECONDS),
            writing(self._engine) as conn,
        ):
            runs.note_progress(conn, self._attempt.claim, progress.step / progress.steps)


def known_at(dataset: DatasetConfig, tick: datetime) -> datetime:
    """Return up to when rows are training data: the last forecast tick less the delay.

    Not `tick`: the model would have seen the future of the forecast that is due next.
    """
    return dataset.forecast_schedule.floor(tick) - dataset.delay


def _read_cells(
    dataset: DatasetConfig, until: datetime, conn: Connection, since: datetime
) -> Iterator[pl.DataFrame]:
    steps = (until - since) // dataset.step.approximate + 1
    return observations.read_cells(conn, dataset.name, since=since, until=until, steps=steps)


def read_versions(conn: Connection, dataset: DatasetConfig, tick: datetime) -> pl.DataFrame:
    """Return the newest VERSIONS of some series at `tick`: how their values were corrected."""
    until = known_at(dataset, tick)
    since = until - LOOK_BACK * dataset.step.approximate
    return versions.of_some_series(conn, dataset.name, since=since, until=until)


def promote(conn: Connection, dataset: str, challenger: Challenger, *, now: datetime) -> Promoted:
    """Store the challenger, and put it in service in place of the champion."""
    parent = models.champion(conn, dataset).model_id if models.has_champion(conn, dataset) else None
    reason = "first model" if parent is None else f"newer data than model {parent}"
    model_id = store(conn, dataset, challenger, now=now, parent=parent)
    models.promote(conn, dataset, model_id, now=now, reason=reason)
    return Promoted(model_id=model_id, reason=reason)


def store(
    conn: Connection,
    dataset: str,
    challenger: Challenger,
    *,
    now: datetime,
    parent: int | None = None,
    reason: str | None = None,
) -> int:
    """Store the challenger without putting it in service; return its number."""
    fitted = challenger.fitted
    model = NewModel(
        config=asdict(challenger.spec),
        weights=fitted.checkpoint,
        sha256=hashlib.sha256(fitted.checkpoint).hexdigest(),
        scores=fitted.scores,
        trained_from=challenger.trained_from,
        trained_to=challenger.trained_to,
        parent_id=parent,
        created_at=now,
        reason=reason,
    )
    return models.add(conn, dataset, model)


def report_on(
    dataset: str,
    tick: datetime,
    challenger: Challenger,
    promoted: Promoted,
    pulled: PullReport | None,
    stages: Mapping[str, float],
) -> RetrainReport:
    """Report what was trained, its accuracy, and why it was promoted."""
    fitted, panel = challenger.fitted, challenger.panel
    return RetrainReport(
        dataset=dataset,
        tick=tick,
        model_id=promoted.model_id,
        decision="promoted",
        reason=promoted.reason,
        series=len(panel),
        observations=int(panel.deviations.isfinite().sum()),
        trained_from=challenger.trained_from,
        trained_to=challenger.trained_to,
        season_length=challenger.spec.season_length,
        opening_hours=challenger.spec.opening_hours,
        scores=fitted.scores,
        train_loss=fitted.train_loss,
        steps=fitted.steps,
        train_seconds=fitted.seconds,
        windows_per_second=fitted.windows_per_second,
        device=fitted.device,
        notes=tuple(fitted.notes),
        pull=pulled,
        stages=stages,
    )


def fit_here(
    panel: Panel, spec: ModelSpec, config: TrainingConfig, *, watch: Watch = unwatched
) -> Fitted:
    """Train in this process, and measure the trust figures of the attention."""
    result = estimator.fit(panel, spec, config, watch)
    accuracy = {} if result.validation is None else asdict(result.validation)
    return Fitted(
        checkpoint=checkpoint.dumps(result.model),
        spec=result.model.spec.to_json(),
        scores={**accuracy, **measure.trust(result.model, panel).to_scores()},
        train_loss=result.train_loss,
        steps=result.steps,
        seconds=result.seconds,
        windows_per_second=result.windows_per_second,
        device=result.device,
        notes=result.notes,
    )
