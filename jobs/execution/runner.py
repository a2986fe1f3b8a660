"""The one boundary around a job: claim the tick, run it, and report the outcome once.

The outcome becomes a run row, a log line and, through `observe`, telemetry. Nothing but an
interrupt gets out: a job that fails or crashes leaves the scheduler alive.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import Literal

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import (
    DatabaseUnavailable,
    ForecasterError,
    StageTimedOut,
    TickAlreadyDone,
    TickTakenOver,
)
from forecaster.store.connection.engine import writing
from forecaster.store.connection.limits import Limit, fence_of, guarded
from forecaster.store.state import runs
from forecaster.store.state.runs import RunClaim
from jobs.execution import hang_detection
from jobs.execution.attempt import Attempt
from jobs.execution.clock import Clock
from jobs.execution.job import Job
from jobs.execution.log_lines import Event, context
from jobs.execution.reports import JobReport, Json, document
from jobs.execution.secret_filter import redacted

RECORD_WITHIN = timedelta(seconds=10)
"""How long it may take to claim a tick, and to record its failure."""

log = logging.getLogger("forecaster")

Result = Literal["succeeded", "failed", "crashed", "already_done"]
"""failed: a failure with a hint; crashed: a bug; already_done: nothing was written now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt at one tick went."""

    job: str
    dataset: str
    tick: datetime
    result: Result
    started_at: datetime
    ended_at: datetime
    seconds: float
    retries: int = 0
    """How often its transaction was tried again."""
    report: JobReport | None = None
    error: BaseException | None = None


Observe = Callable[[Outcome], None]
"""Called with every outcome: telemetry, or a table on a terminal."""


def run_job(
    job: Job,
    engine: Engine,
    dataset: DatasetConfig,
    *,
    tick: datetime,
    clock: Clock,
    observe: Observe,
) -> Outcome:
    """Run `job` for `tick` unless it was done before; never raises but for an interrupt.

    Where the engine is guarded by a lease, so is everything that the run writes.
    """
    started_at, started = clock(), perf_counter()
    limit = Limit(dataset=dataset.name)
    engine = guarded(engine, limit=limit)
    run = _Run(engine, limit, clock)
    with context(job=job.name, dataset=dataset.name, tick=tick.isoformat()):
        with hang_detection.watching(f"{job.name} of {dataset.name}", limit), run.recorded():
            run.claim = _claim(job, engine, dataset, tick, limit, clock)
            attempt = Attempt(
                tick=tick, claim=run.claim, clock=clock, limit=limit, retries=run.retries
            )
            run.report = job.run(engine, dataset, attempt)
        outcome = Outcome(
            job=job.name,
            dataset=dataset.name,
            tick=tick,
            result=run.result,
            started_at=started_at,
            ended_at=clock(),
            seconds=perf_counter() - started,
            retries=len(run.retries),
            report=run.report,
            error=run.error,
        )
        _log(outcome)
    observe(outcome)
    return outcome


@dataclass(slots=True)
class _Run:
    """The state of a run; `recorded` records how it ended."""

    engine: Engine
    limit: Limit
    clock: Clock
    claim: RunClaim | None = None
    report: JobReport | None = None
    result: Result = "succeeded"
    error: BaseException | None = None
    retries: list[str] = field(default_factory=list)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Store an exception of the block, and record failures; interrupts propagate."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:
            self._record_failure(error)
            raise
        except (TickAlreadyDone, TickTakenOver) as error:
            self.result, self.error = "already_done", error
        except BaseException as error:
            # A panic inside polars is no Exception, and must not end the scheduler either.
            self._record_failure(error)
            self.result = "failed" if isinstance(error, ForecasterError) else "crashed"
            self.error = error

    def _record_failure(self, error: BaseException) -> None:
        if self.claim is None:
            return
        hint = error.hint if isinstance(error, ForecasterError) else None
        try:
            with self.limit.stage("record", RECORD_WITHIN), writing(self.engine) as conn:
                runs.fail(conn, self.claim, now=self.clock(), error=_describe(error), hint=hint)
        except Exception as failure:
            log.warning("could not record the failed run: %s", failure)


def _claim(
    job: Job, engine: Engine, dataset: DatasetConfig, tick: datetime, limit: Limit, clock: Clock
) -> RunClaim:
    fence = fence_of(engine)
    token = None if fence is None else fence.token
    try:
        with limit.stage("claim", RECORD_WITHIN), writing(engine) as conn:
            return runs.claim(conn, job.name, dataset.name, tick, clock(), token)
    except StageTimedOut as error:  # there is no row: this is no tick that failed
        raise DatabaseUnavailable(error.message, hint=error.hint) from error


def _describe(error: BaseException | None) -> str:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted"
    text = str(error) if isinstance(error, ForecasterError) else f"{type(error).__name__}: {error}"
    return redacted(text)


def _log(outcome: Outcome) -> None:
    fields: dict[str, Json] = {
        "dataset": outcome.dataset,
        "tick": outcome.tick.isoformat(),
        "seconds": outcome.seconds,
    }
    match outcome.result:
        case "succeeded":
            assert outcome.report is not None
            log.info(Event(f"{outcome.job} done", {**fields, **document(outcome.report)}))
        case "already_done":
            log.info(Event(f"{outcome.job}: {outcome.error}", fields))
        case "failed":
            assert isinstance(outcome.error, ForecasterError)
            fields |= {"error": outcome.error.message, "hint": outcome.error.hint}
            log.error(Event(f"{outcome.job} failed", fields))
        case "crashed":
            fields |= {"error": _describe(outcome.error)}
            log.error(Event(f"{outcome.job} crashed", fields), exc_info=outcome.error)
