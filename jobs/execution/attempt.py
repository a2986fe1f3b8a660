"""One attempt at one tick: its claim, the deadlines of its stages, and the commit that ends it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import TypeVar

from sqlalchemy import Connection, Engine
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from forecaster.errors import (
    AlreadyWritten,
    DatabaseUnavailable,
    StageTimedOut,
    StoreError,
    TickTakenOver,
)
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Limit, bounded
from forecaster.store.state import run_history, runs
from forecaster.store.state.runs import RunClaim
from jobs.execution.clock import Clock
from jobs.execution.reports import JobReport, document

CONFLICTS = (DatabaseUnavailable, AlreadyWritten)
"""Errors after which a transaction is tried again, and reads again what others have written."""
ATTEMPTS = 5
LONGEST_PAUSE = 2.0
"""Seconds between two attempts at one transaction."""
RETRYING = Retrying(
    retry=retry_if_exception_type(CONFLICTS),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE),
    reraise=True,
)
LOOK_WITHIN = timedelta(seconds=5)
"""How long it may take to check whether a commit succeeded once the stage is over."""

log = logging.getLogger("forecaster")
R = TypeVar("R", bound=JobReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at one tick."""

    tick: datetime
    claim: RunClaim
    clock: Clock
    limit: Limit = field(default_factory=Limit)
    """The deadline of the current stage; the engine of the job has the same."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took, in the order in which they ended."""
    retries: list[str] = field(default_factory=list)
    """Errors after which a transaction was tried again."""

    @contextmanager
    def stage(self, name: str, within: timedelta) -> Iterator[None]:
        """Time a stage, and cancel it when it takes longer than `within`.

        A stage that is entered twice adds up.
        """
        started = perf_counter()
        try:
            with self.limit.stage(name, within):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - started

    def commit(self, engine: Engine, write: Callable[[Connection], R]) -> R:
        """Write the results of the run and finish its row, in one transaction; return the report.

        `write` makes the report. It is called again after a conflict or a lost connection, so it
        has to look itself for what is there; where only the answer was lost, the run row shows
        whether it was written. TickTakenOver, and nothing is written, when a later attempt owns
        the tick.
        """
        reports: list[R] = []

        def attempt() -> None:
            if not (reports and self._is_written(engine)):
                self._write_once(engine, write, reports)

        try:
            RETRYING.copy(before_sleep=self._note_retry)(attempt)
        except (*CONFLICTS, StageTimedOut, TickTakenOver):
            # A commit that was given up as lost may have come through all the same.
            if not (reports and self._is_written_after_all(engine)):
                raise
        return reports[-1]

    def _write_once(
        self, engine: Engine, write: Callable[[Connection], R], reports: list[R]
    ) -> None:
        with writing(engine) as conn:
            runs.require(conn, self.claim)
            report = write(conn)
            runs.finish(conn, self.claim, now=self.clock(), report=document(report))
            reports.append(report)

    def _is_written(self, engine: Engine) -> bool:
        with reading(engine) as conn:
            run = run_history.lookup(conn, self.claim.run_id)
        return (run.state, run.attempt) == ("succeeded", self.claim.attempt)

    def _is_written_after_all(self, engine: Engine) -> bool:
        with suppress(StoreError, StageTimedOut), bounded(engine, "look", LOOK_WITHIN) as brief:
            return self._is_written(brief)
        return False

    def _note_retry(self, attempt: RetryCallState) -> None:
        error = attempt.outcome and attempt.outcome.exception()
        self.retries.append(str(error))
        log.warning("transaction failed, retrying: %s", error)
