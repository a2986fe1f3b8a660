"""Backfill a range of ticks: plan → read → forecast → write. Start reading here.

A segment of ticks has its past in memory; chunks of it are forecast in few batches, and each is
written in one transaction. A backfill that is killed leaves all of a chunk or nothing, and the next
backfill of the range does the rest.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from forecaster.store.forecasts.backfills import TickRow
from forecaster.store.maintenance import partitions
from forecaster.store.state import datasets, models
from forecaster.store.state.models import StoredModel
from forecaster.times.durations import format_duration
from jobs.backfill.chunks import Chunk, ServingModel, make, spans
from jobs.backfill.known_values import MOST_CELLS, KnownHistory, Segment
from jobs.backfill.parallel import run_in_threads
from jobs.backfill.plan import BackfillRequest, Plan, TickRange, plan
from jobs.backfill.report import BackfillReport, Failure
from jobs.backfill.retrain import ModelTrainer
from jobs.backfill.retries import RetryPolicy, Stopped
from jobs.backfill.settle_scores import settle_all
from jobs.backfill.write import ChunkWriter, WrittenChunk
from jobs.execution.clock import Clock
from jobs.execution.secret_filter import redacted
from jobs.retrain import Fit

TABLES = ("forecasts", "attention", "accuracy")
PARTITIONS = 30
"""Of each table in one transaction: it holds a lock on each of them."""
AT_LEAST = timedelta(minutes=30)
"""The least deadline of a stage, as no other tick waits for it."""

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
    """How many segments are processed in parallel."""
    on_progress: Callable[[BackfillProgress], None] = lambda _: None
    notify: Callable[[str], None] = lambda _: None
    """Called with messages for the user while the backfill runs."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set to stop it after the chunk that is being written."""


def run(work: Work, wanted: BackfillRequest) -> BackfillReport:
    """Write the forecasts that the ticks of a range would have written.

    A tick is left alone if the service ran it, or a backfill did before. The error of a tick is
    stored in its run row, and the others go on; StoreError when nothing can be written any more.
    Ticks that are not done when it is stopped are `left`.
    """
    with reading(work.engine) as conn:
        plan_ = plan(conn, work.dataset, wanted, now=work.clock())
    return carry_out(work, wanted, plan_)


def carry_out(work: Work, wanted: BackfillRequest, plan: Plan) -> BackfillReport:
    """Carry out a plan."""
    begun, started = work.clock(), perf_counter()
    late_data = work.dataset.late_data
    known_after = late_data if wanted.known_after is None else wanted.known_after
    report = BackfillReport(
        dataset=work.dataset.name,
        since=wanted.since,
        until=wanted.until,
        asked=plan.asked,
        in_service=plan.in_service,
        done_before=plan.done_before,
        failed_before=plan.failed_before,
        left=plan.ticks,
        known_after=format_duration(known_after),
    )
    history = KnownHistory(
        dataset=work.dataset,
        ran=plan.ran,
        now=begun,
        known_after=known_after,
        cells=MOST_CELLS // work.jobs,
    )
    backfill = _Backfill(work=work, plan=plan, history=history, report=report)
    if plan.ranges:
        backfill.show()
    with suppress(Stopped):
        backfill.carry_out(begun)
    values = backfill.values
    report.finish(
        seconds=perf_counter() - started, values=values["read"], assumed=values["assumed"]
    )
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backfill:
    """One plan at work; segments may be processed in several threads."""

    work: Work
    plan: Plan
    history: KnownHistory
    report: BackfillReport
    values: Counter[str] = field(default_factory=Counter)
    """How many values were `read`, and how many of them are `assumed` to be known."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def retry_policy(self) -> RetryPolicy:
        """How transactions are retried."""
        return RetryPolicy(stopping=self.work.stopping, notify=self.work.notify)

    def carry_out(self, begun: datetime) -> None:
        """Process all segments, then score what matured meanwhile; Stopped when it is stopped."""

        def settle() -> None:
            work = self.work
            self.report.accuracy_rows += settle_all(
                work.engine, work.dataset, work.retention, begun=begun, now=work.clock()
            )

        try:
            run_in_threads(self.tasks(), self.work.jobs, self.work.stopping)
        except StoreError:
            with suppress(StoreError):
                settle()
            raise
        if not self.work.stopping.is_set():
            self.retry_policy.until_done(settle)

    def tasks(self) -> Iterator[Callable[[], None]]:
        """Yield one task for each segment; models that a range needs are trained in between."""
        with reading(self.work.engine) as conn:
            series = datasets.keys(conn, self.work.dataset.name).height
        for tick_range in self.plan.ranges:
            if self.work.stopping.is_set():
                return
            try:
                serving = self._model_of(tick_range)
            except StoreError:
                raise
            except Stopped:
                return
            except Exception as error:
                self._fail(tick_range.ticks, error)
                continue
            for ticks in self.history.segments(tick_range.ticks, serving.model.spec, series):
                yield partial(self._run_segment, ticks, serving)

    def _model_of(self, tick_range: TickRange) -> ServingModel:
        """Return the model of a range, which may have to be trained."""
        work, model_id = self.work, tick_range.model_id
        if tick_range.train_at is not None:
            trainer = ModelTrainer(
                engine=work.engine,
                dataset=work.dataset,
                history=self.history,
                fit=work.fit,
                clock=work.clock,
                retry_policy=self.retry_policy,
            )
            begun = perf_counter()
            model_id, is_new = trainer.model_of(tick_range.train_at)
            self.report.trained += (model_id,) if is_new else ()
            self.report.training_seconds += perf_counter() - begun
        assert model_id is not None
        number = model_id

        def read() -> StoredModel:
            with reading(work.engine) as conn:
                return models.get(conn, work.dataset.name, number)

        stored = self.retry_policy.until_done(read)
        return ServingModel(
            model_id=model_id,
            model=checkpoint.loads(stored.weights, stored.sha256, work.dataset.model.plugins),
            trained_to=stored.trained_to,
            hindsight=tick_range.hindsight,
        )

    def _run_segment(self, ticks: Sequence[datetime], serving: ServingModel) -> None:
        """Read the past of one segment, then forecast and write one chunk after the other."""
        limit = Limit(dataset=self.work.dataset.name)
        engine = guarded(self.work.engine, limit=limit)
        deadlines = self.work.dataset.deadlines

        def read() -> Segment:
            with limit.stage("read", _ample(deadlines.pull)), reading(engine) as conn:
                history = replace(self.history, now=self.work.clock())
                return history.read(conn, ticks, serving.model.spec)

        started = self.work.clock()
        segment = self.retry_policy.until_done(read)
        with self._lock:
            self.values.update(read=segment.past.rows, assumed=segment.past.assumed)
        longest = PARTITIONS * partitions.narrowest(self.work.retention, TABLES)
        for span in spans(segment, serving.model.spec.prediction_length, longest):
            if self.work.stopping.is_set():
                return
            try:
                with limit.stage("predict", _ample(deadlines.predict)):
                    chunk = make(self.work.dataset, segment, span, serving)
                written = self._write(engine, limit, chunk, started)
            except (StoreError, StageTimedOut, Stopped):
                raise
            except Exception as error:
                self._fail(ticks[span], error)
                continue
            with self._lock:
                self.report.add(
                    written.reports,
                    accuracy_rows=written.accuracy_rows,
                    others=len(chunk.ticks) - len(written.reports),
                )
                self.show()

    def _write(self, engine: Engine, limit: Limit, chunk: Chunk, started: datetime) -> WrittenChunk:
        """Write a chunk; a retry leaves out what somebody else wrote at the same time."""
        writer = ChunkWriter(dataset=self.work.dataset, plan=self.plan)

        def write() -> WrittenChunk:
            with limit.stage("write", _ample(self.work.dataset.deadlines.write)):
                partitions.ensure(engine, self.work.retention, TABLES, chunk.forecast_cutoffs)
                with writing(engine) as conn:
                    return writer.write(conn, chunk, started=started, now=self.work.clock())

        return self.retry_policy.until_done(write)

    def _fail(self, ticks: Sequence[datetime], error: Exception) -> None:
        """Store in their run rows why ticks failed."""
        text, hint = f"{type(error).__name__}: {error}", None
        if isinstance(error, ForecasterError):
            text, hint = error.message, error.hint
        else:
            log.error("backfill crashed at %s", ticks[0].isoformat(), exc_info=error)
        text = redacted(text)
        now = self.work.clock()
        row = partial(TickRow, state="failed", started_at=now, finished_at=now)
        rows = [row(tick=tick, error=text, hint=hint) for tick in ticks]

        def record() -> None:
            with writing(self.work.engine) as conn:
                backfills.claim(conn, self.work.dataset.name, self.plan.job, rows, again=False)

        self.retry_policy.until_done(record)
        with self._lock:
            self.report.fail(
                Failure(ticks=len(ticks), first=ticks[0], last=ticks[-1], error=text, hint=hint)
            )
            self.show()

    def show(self) -> None:
        """Report the progress."""
        total = self.plan.ticks
        self.work.on_progress(
            BackfillProgress(
                ticks=total - self.report.left,
                total=total,
                forecasts=self.report.forecasts,
                rows=self.report.rows,
            )
        )


def _ample(deadline: timedelta) -> timedelta:
    return max(deadline, AT_LEAST)
