"""Backfill a range of ticks: plan → recall → forecast → keep. Start reading here.

A stretch of ticks has its past in memory at once; a chunk of them is forecast in few batches and
written in one transaction. What was killed in between is there as a whole or not at all, and the
next backfill of the range does the rest.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.errors import ForecasterError, StageTimedOut, StoreError
from forecaster.inference import checkpoint
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Limit, guarded
from forecaster.store.forecasts import backfills
from forecaster.store.maintenance import partitions
from forecaster.store.state import datasets, models
from forecaster.store.state.models import StoredModel
from forecaster.times.durations import format_duration
from jobs.backfill.chunks import (
    Asked,
    Chunk,
    make,
    spans,
)
from jobs.backfill.known_values import MOST_CELLS, KnownHistory, Stretch
from jobs.backfill.parallel import side_by_side
from jobs.backfill.plan import BackfillRequest, Plan, TickRange, plan
from jobs.backfill.report import (
    BackfillReport,
    Failure,
    Tally,
    report_on,
)
from jobs.backfill.retrain import ModelTrainer
from jobs.backfill.retries import RetryPolicy, Stopped
from jobs.backfill.settle_scores import settle_all
from jobs.backfill.write import ChunkWriter, WrittenChunk, failed
from jobs.execution.clock import Clock
from jobs.execution.secret_filter import discreet
from jobs.retrain import Fit

TABLES = ("forecasts", "attention", "accuracy")
PARTITIONS = 30
"""Of each table in one transaction: it holds a lock on each of them."""
AT_LEAST = timedelta(minutes=30)
"""How long a stage may take, whatever `deadlines` give to ticks: no other one is waiting."""

log = logging.getLogger("forecaster")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillProgress:
    """How far a backfill is."""

    ticks: int
    total: int
    forecasts: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a backfill works with."""

    engine: Engine
    dataset: DatasetConfig
    retention: RetentionConfig
    fit: Fit
    clock: Clock
    jobs: int = 1
    """Stretches that are done at once."""
    on_progress: Callable[[BackfillProgress], None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None
    """Hears what a person should know meanwhile."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set by whoever wants it to end: after the chunk that is being written."""


def run(work: Work, wanted: BackfillRequest) -> BackfillReport:
    """Write the forecasts that the ticks of a range would have written.

    A tick is left alone if the service ran it, or a backfill did before. What a tick fails with is
    in its run row, and the others go on; StoreError when nothing can be written any more. What
    is not done when it is asked to end is `left`.
    """
    with reading(work.engine) as conn:
        found = plan(conn, work.dataset, wanted, now=work.clock())
    return carry_out(work, wanted, found)


def carry_out(work: Work, wanted: BackfillRequest, found: Plan) -> BackfillReport:
    """Do what a plan says."""
    begun, started = work.clock(), perf_counter()
    backfill = _Backfill(work=work, wanted=wanted, plan=found)
    if found.legs:
        backfill.show()
    with suppress(Stopped):
        backfill.carry_out(begun)
    known = format_duration(known_after(work.dataset, wanted))
    seconds, name = perf_counter() - started, work.dataset.name
    return report_on(name, wanted, found, backfill.tally, known_after=known, seconds=seconds)


def known_after(dataset: DatasetConfig, wanted: BackfillRequest) -> timedelta:
    """Return how long after its timestamp a value counts as known that was landed afterwards."""
    return dataset.late_data if wanted.known_after is None else wanted.known_after


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backfill:
    """One plan at work; stretches may be done in several threads."""

    work: Work
    wanted: BackfillRequest
    plan: Plan
    tally: Tally = field(default_factory=Tally)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def retry_policy(self) -> RetryPolicy:
        """How transactions are tried again."""
        return RetryPolicy(stopping=self.work.stopping, tell=self.work.tell)

    def carry_out(self, begun: datetime) -> None:
        """Do all stretches, then settle; Stopped when the end was asked for."""

        def settle() -> None:
            work = self.work
            self.tally.accuracy_rows += settle_all(
                work.engine, work.dataset, work.retention, begun=begun, now=work.clock()
            )

        try:
            side_by_side(self.tasks(), self.work.jobs, self.work.stopping)
        except StoreError:
            with suppress(StoreError):
                settle()
            raise
        if not self.work.stopping.is_set():
            self.retry_policy.until_done(settle)

    def tasks(self) -> Iterator[Callable[[], None]]:
        """Give one task for each stretch; models that a leg needs are trained in between."""
        memory = self._memory()
        with reading(self.work.engine) as conn:
            series = datasets.keys(conn, self.work.dataset.name).height
        for leg in self.plan.legs:
            if self.work.stopping.is_set():
                return
            try:
                asked = self._ask(leg, memory)
            except StoreError:
                raise
            except Stopped:
                return
            except Exception as error:
                self._fail(leg.ticks, error)
                continue
            for ticks in memory.stretches(leg.ticks, asked.model.spec, series):
                yield partial(self._do, ticks, asked)

    def _memory(self) -> KnownHistory:
        return KnownHistory(
            dataset=self.work.dataset,
            ran=self.plan.ran,
            now=self.work.clock(),
            known_after=known_after(self.work.dataset, self.wanted),
            cells=MOST_CELLS // self.work.jobs,
        )

    def _ask(self, leg: TickRange, memory: KnownHistory) -> Asked:
        """Return the model of a leg, which may have to be trained."""
        work, model_id = self.work, leg.model_id
        if leg.train_at is not None:
            teacher = ModelTrainer(
                engine=work.engine,
                dataset=work.dataset,
                memory=memory,
                fit=work.fit,
                clock=work.clock,
                retry_policy=self.retry_policy,
            )
            begun = perf_counter()
            model_id, is_new = teacher.model_of(leg.train_at)
            self.tally.trained += [model_id] if is_new else []
            self.tally.training_seconds += perf_counter() - begun
        assert model_id is not None
        stored = self.retry_policy.until_done(partial(_stored, work, model_id))
        return Asked(
            model_id=model_id,
            model=checkpoint.loads(stored.weights, stored.sha256, work.dataset.model.plugins),
            trained_to=stored.trained_to,
            hindsight=leg.hindsight,
        )

    def _do(self, ticks: Sequence[datetime], asked: Asked) -> None:
        """Recall one stretch, then forecast and keep it, one chunk after the other."""
        limit = Limit(dataset=self.work.dataset.name)
        engine = guarded(self.work.engine, limit=limit)
        deadlines = self.work.dataset.deadlines

        def recall() -> Stretch:
            with limit.stage("read", _ample(deadlines.pull)), reading(engine) as conn:
                return self._memory().recall(conn, ticks, asked.model.spec)

        started = self.work.clock()
        stretch = self.retry_policy.until_done(recall)
        with self._lock:
            self.tally.values += stretch.past.rows
            self.tally.assumed += stretch.past.assumed
        longest = PARTITIONS * partitions.narrowest(self.work.retention, TABLES)
        for span in spans(stretch, asked.model.spec.prediction_length, longest):
            if self.work.stopping.is_set():
                return
            try:
                with limit.stage("predict", _ample(deadlines.predict)):
                    chunk = make(self.work.dataset, stretch, span, asked)
                kept = self._keep(engine, limit, chunk, started)
            except (StoreError, StageTimedOut, Stopped):
                raise
            except Exception as error:
                self._fail(ticks[span], error)
            else:
                self._count(kept, len(chunk.ticks))

    def _keep(self, engine: Engine, limit: Limit, chunk: Chunk, started: datetime) -> WrittenChunk:
        """Write a chunk; what somebody else writes at the same time is looked for again."""
        keeper = ChunkWriter(dataset=self.work.dataset, plan=self.plan)

        def write() -> WrittenChunk:
            with limit.stage("write", _ample(self.work.dataset.deadlines.write)):
                partitions.ensure(engine, self.work.retention, TABLES, chunk.cutoffs_said)
                with writing(engine) as conn:
                    return keeper.keep(conn, chunk, started=started, now=self.work.clock())

        return self.retry_policy.until_done(write)

    def _count(self, kept: WrittenChunk, ticks: int) -> None:
        with self._lock:
            self.tally.add(kept.reports, kept.accuracy_rows)
            self.tally.elsewhere += ticks - len(kept.reports)
            self.show()

    def _fail(self, ticks: Sequence[datetime], error: Exception) -> None:
        """Note in their run rows why ticks could not be done."""
        text, hint = f"{type(error).__name__}: {error}", None
        if isinstance(error, ForecasterError):
            text, hint = error.message, error.hint
        else:
            log.error("backfill crashed at %s", ticks[0].isoformat(), exc_info=error)
        text = discreet(text)
        now = self.work.clock()
        rows = failed(ticks, text, hint, started=now, now=now)

        def note() -> None:
            with writing(self.work.engine) as conn:
                backfills.claim(conn, self.work.dataset.name, self.plan.job, rows, again=False)

        self.retry_policy.until_done(note)
        with self._lock:
            self.tally.failures.append(
                Failure(ticks=len(ticks), first=ticks[0], last=ticks[-1], error=text, hint=hint)
            )
            self.show()

    def show(self) -> None:
        """Tell how far it is."""
        self.work.on_progress(
            BackfillProgress(
                ticks=self.tally.ended,
                total=self.plan.ticks,
                forecasts=self.tally.forecasts,
                rows=self.tally.rows,
            )
        )


def _ample(deadline: timedelta) -> timedelta:
    return max(deadline, AT_LEAST)


def _stored(work: Work, model_id: int) -> StoredModel:
    with reading(work.engine) as conn:
        return models.get(conn, work.dataset.name, model_id)
