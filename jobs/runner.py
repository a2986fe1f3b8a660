"""The one boundary around a job: claim the tick, run it, and say once how it went.

The outcome becomes a run row, a log line and, through `observe`, telemetry. Nothing but an
interrupt gets out: a job that fails or crashes leaves the scheduler alive.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Literal

from sqlalchemy import Engine

from forecaster.config import DatasetConfig
from forecaster.errors import ForecasterError, TickAlreadyDone, TickTakenOver
from forecaster.store import runs
from forecaster.store.engine import writing
from forecaster.store.runs import RunClaim
from jobs.catalog import Job
from jobs.reports import JobReport, Json, document
from jobs.ticks import Clock, Turn

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
    report: JobReport | None = None
    error: BaseException | None = None


Observe = Callable[[Outcome], None]
"""Told of every outcome: telemetry, or a table on a terminal."""


def run_job(
    job: Job,
    engine: Engine,
    dataset: DatasetConfig,
    *,
    tick: datetime,
    clock: Clock,
    observe: Observe,
) -> Outcome:
    """Run `job` for `tick` unless it was done before; never raises but for an interrupt."""
    started_at, started = clock(), perf_counter()
    result, report, error = _attempt(job, engine, dataset, tick=tick, clock=clock)
    outcome = Outcome(
        job=job.name,
        dataset=dataset.name,
        tick=tick,
        result=result,
        started_at=started_at,
        ended_at=clock(),
        seconds=perf_counter() - started,
        report=report,
        error=error,
    )
    _log(outcome)
    observe(outcome)
    return outcome


def _attempt(
    job: Job, engine: Engine, dataset: DatasetConfig, *, tick: datetime, clock: Clock
) -> tuple[Result, JobReport | None, BaseException | None]:
    claim = None
    try:
        with writing(engine) as conn:
            claim = runs.claim(conn, job.name, dataset.name, tick, clock())
        report = job.run(engine, dataset, Turn(tick=tick, claim=claim, clock=clock))
    except (KeyboardInterrupt, SystemExit) as error:
        _record_failure(engine, claim, clock, error)
        raise
    except (TickAlreadyDone, TickTakenOver) as error:
        return "already_done", None, error
    except BaseException as error:
        # A panic inside polars is no Exception, and must not end the scheduler either.
        _record_failure(engine, claim, clock, error)
        return ("failed" if isinstance(error, ForecasterError) else "crashed"), None, error
    return "succeeded", report, None


def _record_failure(
    engine: Engine, claim: RunClaim | None, clock: Clock, error: BaseException
) -> None:
    if claim is None:
        return
    try:
        with writing(engine) as conn:
            hint = error.hint if isinstance(error, ForecasterError) else None
            runs.fail(conn, claim, now=clock(), error=_describe(error), hint=hint)
    except Exception as failure:
        log.warning("the failure could not be recorded: %s", failure)


def _describe(error: BaseException | None) -> str:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted"
    return str(error) if isinstance(error, ForecasterError) else f"{type(error).__name__}: {error}"


def _log(outcome: Outcome) -> None:
    fields: dict[str, Json] = {
        "dataset": outcome.dataset,
        "tick": outcome.tick.isoformat(),
        "seconds": outcome.seconds,
    }
    match outcome.result:
        case "succeeded":
            assert outcome.report is not None
            log.info(line(f"{outcome.job} done", {**fields, **document(outcome.report)}))
        case "already_done":
            log.info(line(f"{outcome.job}: {outcome.error}", fields))
        case "failed":
            assert isinstance(outcome.error, ForecasterError)
            fields |= {"error": outcome.error.message, "hint": outcome.error.hint}
            log.error(line(f"{outcome.job} failed", fields))
        case "crashed":
            fields |= {"error": _describe(outcome.error)}
            log.error(line(f"{outcome.job} crashed", fields), exc_info=outcome.error)


def line(message: str, fields: Mapping[str, Json]) -> str:
    """Return `message key=value …`: dotted names for nested fields, no lists and no nulls."""
    return " ".join([message, *(f"{name}={text}" for name, text in _flat(fields))])


def _flat(fields: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        match value:
            case None | list():
                continue
            case dict():
                yield from _flat(value, f"{prefix}{name}.")
            case float():
                yield prefix + name, f"{value:.4g}"
            case str() if not value or set(value) & set(' ="\n'):
                yield prefix + name, json.dumps(value, ensure_ascii=False)
            case _:
                yield prefix + name, str(value)
