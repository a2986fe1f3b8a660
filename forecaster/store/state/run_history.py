"""The history of runs: the outcome of each tick of a job on a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, select

from forecaster.errors import DatabaseUnavailable
from forecaster.store import tables
from forecaster.store.state import datasets
from forecaster.store.tables import runs

State = Literal["running", "succeeded", "failed", "missed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The row of one tick of one job on one dataset; attempt 0: never started."""

    run_id: int
    job: str
    dataset: str
    tick: datetime
    state: State
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    report: Mapping[str, Any] | None
    error: str | None
    hint: str | None
    token: int | None = None
    progress: float | None = None


def latest(
    conn: Connection,
    job: str,
    dataset: str,
    *,
    state: State | None = None,
    tried_until: datetime | None = None,
    leased: bool = False,
) -> Run | None:
    """Return the run of the greatest tick: of those in `state`, of those that were tried and
    are not of a tick after `tried_until`, of those under a lease."""
    query = _select(dataset, runs.c.job == job)
    if state is not None:
        query = query.where(runs.c.state == state)
    if tried_until is not None:
        query = query.where(runs.c.tick <= tried_until, runs.c.attempt > 0)
    if leased:
        query = query.where(runs.c.token.is_not(None))
    row = conn.execute(query.limit(1)).one_or_none()
    return None if row is None else Run(**row._mapping)


def lookup(conn: Connection, run_id: int) -> Run:
    """Return the run of a claim: whether it succeeded, when its commit came to an unknown end.

    It did if its state is `succeeded` and its attempt is that of the claim. DatabaseUnavailable
    where the claim itself is gone: this is another server, or a restored one.
    """
    row = conn.execute(_all().where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise DatabaseUnavailable(
            f"run {run_id} no longer exists: the database was restored or replaced",
            hint="check whether a failover promoted a standby that lacked the last transactions",
        )
    return Run(**row._mapping)


def recorded_ticks(
    conn: Connection, job: str, dataset: str, *, after: datetime, until: datetime, now: datetime
) -> set[datetime]:
    """Return the ticks after `after` up to `until` that have a row.

    Not those that were only given up, and later than `now`: by a clock that was set ahead.
    """
    given_up_ahead = (runs.c.attempt == 0) & (runs.c.finished_at > now)
    query = select(runs.c.tick).where(
        runs.c.job == job,
        runs.c.dataset_id.in_(datasets.id_of(dataset)),
        runs.c.tick > after,
        runs.c.tick <= until,
        ~given_up_ahead,
    )
    return set(conn.scalars(query))


def oldest_tick(
    conn: Connection, job: str, dataset: str, *, finished_since: datetime
) -> datetime | None:
    """Return the smallest tick of which an attempt ended at `finished_since` or later."""
    query = select(runs.c.tick).where(
        runs.c.job == job,
        runs.c.dataset_id.in_(datasets.id_of(dataset)),
        runs.c.attempt > 0,
        runs.c.finished_at >= finished_since,
    )
    return conn.scalar(query.order_by(runs.c.tick).limit(1))


def unfinished(conn: Connection, job: str, dataset: str) -> list[Run]:
    """Return the runs that were started and did not succeed, the oldest tick first."""
    query = _select(dataset, runs.c.job == job, runs.c.state.in_(["running", "failed"]))
    return [Run(**row._mapping) for row in conn.execute(query)][::-1]


def list_runs(
    conn: Connection, dataset: str, *, job: str | None = None, limit: int = 20
) -> list[Run]:
    """Return the runs of the greatest ticks, newest first."""
    query = _select(dataset, *([] if job is None else [runs.c.job == job])).limit(limit)
    return [Run(**row._mapping) for row in conn.execute(query)]


def _select(dataset: str, *conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        _all()
        .where(tables.datasets.c.name == dataset, *conditions)
        .order_by(runs.c.tick.desc(), runs.c.id.desc())
    )


def _all() -> Select[Any]:
    return select(
        runs.c.id.label("run_id"),
        tables.datasets.c.name.label("dataset"),
        *(column for column in runs.c if column.name not in {"id", "dataset_id"}),
    ).join(tables.datasets)
