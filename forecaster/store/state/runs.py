"""Runs: one row per job, dataset and tick. It decides who does a tick, and that it is done once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, delete, func, or_, select, update

from forecaster.errors import DatabaseUnavailable, TickAlreadyDone, TickTakenOver
from forecaster.store import tables
from forecaster.store.column_types import printable
from forecaster.store.state import datasets
from forecaster.store.tables import runs
from forecaster.store.upserts import insert_or

State = Literal["running", "succeeded", "failed", "missed"]

_KEY = ["job", "dataset_id", "tick"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClaim:
    """The right to write one tick; a later attempt takes it away."""

    run_id: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One tick of one job on one dataset, as its row says; attempt 0: never started."""

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


def claim(
    conn: Connection,
    job: str,
    dataset: str,
    tick: datetime,
    now: datetime,
    token: int | None = None,
) -> RunClaim:
    """Take a tick: a new one, or over from an attempt that failed, was killed, or still runs.

    `token` is that of the lease it is done under. TickAlreadyDone when it succeeded before.
    """
    insert = insert_or(conn, runs)
    row = conn.execute(
        insert.on_conflict_do_update(
            index_elements=_KEY,
            set_={
                "state": "running",
                "attempt": runs.c.attempt + 1,
                "started_at": insert.excluded.started_at,
                "finished_at": None,
                "error": None,
                "hint": None,
                "token": insert.excluded.token,
                "progress": None,
            },
            where=runs.c.state != "succeeded",
        ).returning(runs.c.id, runs.c.attempt),
        {
            "job": job,
            "dataset_id": datasets.dataset_id(conn, dataset),
            "tick": tick,
            "state": "running",
            "attempt": 1,
            "started_at": now,
            "token": token,
        },
    ).one_or_none()
    if row is None:
        raise TickAlreadyDone(f"tick {tick.isoformat()} already done, nothing written")
    return RunClaim(run_id=row.id, attempt=row.attempt)


def note_progress(conn: Connection, claim: RunClaim, share: float) -> None:
    """Note how much of a run is done, from 0 to 1, unless a later attempt took it over."""
    conn.execute(update(runs).where(_holds(claim)).values(progress=share))


def require(conn: Connection, claim: RunClaim) -> None:
    """Keep a run from being taken over until the transaction ends; TickTakenOver if it was."""
    lock = select(runs.c.id).where(_holds(claim)).with_for_update()
    if conn.scalar(lock) is None:
        raise _taken_over(claim)


def finish(conn: Connection, claim: RunClaim, *, now: datetime, report: Mapping[str, Any]) -> None:
    """Mark a run succeeded, in the transaction that writes what it made.

    TickTakenOver when the claim is not the newest: that transaction must not be committed.
    """
    done = conn.execute(
        update(runs).where(_holds(claim)).values(state="succeeded", finished_at=now, report=report)
    )
    if done.rowcount != 1:
        raise _taken_over(claim)


def fail(
    conn: Connection, claim: RunClaim, *, now: datetime, error: str, hint: str | None = None
) -> None:
    """Mark a run failed, unless a later attempt took it over or it was committed after all."""
    conn.execute(
        update(runs)
        .where(_holds(claim))
        .values(state="failed", finished_at=now, error=printable(error), hint=hint)
    )


def record_missed(
    conn: Connection,
    job: str,
    dataset: str,
    ticks: Iterable[datetime],
    now: datetime,
    reason: str | None = None,
) -> int:
    """Note ticks that nobody will run, and why; return how many had no row yet."""
    owner = datasets.dataset_id(conn, dataset)
    rows = [
        {"job": job, "dataset_id": owner, "tick": tick, "state": "missed", "attempt": 0,
         "finished_at": now, "error": reason}
        for tick in ticks
    ]  # fmt: skip
    if not rows:
        return 0
    statement = insert_or(conn, runs).on_conflict_do_nothing(index_elements=_KEY)
    return len(conn.execute(statement.returning(runs.c.id), rows).all())


def give_up(
    conn: Connection, tried: Iterable[Run], now: datetime, reason: str | None = None
) -> int:
    """Note that runs which did not succeed will not be tried again; return how many still had to.

    What went wrong stays in their rows; where nothing is noted, it is `reason`.
    """
    return sum(
        conn.execute(
            update(runs)
            .where(
                runs.c.id == run.run_id,
                runs.c.attempt == run.attempt,
                runs.c.state.in_(["running", "failed"]),
            )
            .values(state="missed", finished_at=now, error=func.coalesce(runs.c.error, reason))
        ).rowcount
        for run in tried
    )


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


def lookup(conn: Connection, claim: RunClaim) -> Run:
    """Return the run of a claim: whether it succeeded, when its commit came to an unknown end.

    It did if its state is `succeeded` and its attempt is that of the claim. DatabaseUnavailable
    where the claim itself is gone: this is another server, or a restored one.
    """
    row = conn.execute(_all().where(runs.c.id == claim.run_id)).one_or_none()
    if row is None:
        raise DatabaseUnavailable(
            f"run {claim.run_id} must be there, found none: another database answers by now",
            hint="look whether a replica took over that did not have the last transactions",
        )
    return Run(**row._mapping)


def ticks_noted(
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


def delete_before(conn: Connection, dataset: str, before: datetime) -> int:
    """Delete the runs of ticks earlier than `before` that are not running; return how many.

    The newest run of each job stays, and the newest that succeeded: what is due follows from them.
    """
    later = runs.alias("later")
    is_followed = select(later.c.id).where(
        later.c.job == runs.c.job,
        later.c.dataset_id == runs.c.dataset_id,
        later.c.tick > runs.c.tick,
        or_(later.c.state == "succeeded", runs.c.state != "succeeded"),
    )
    return conn.execute(
        delete(runs).where(
            runs.c.dataset_id.in_(datasets.id_of(dataset)),
            runs.c.tick < before,
            runs.c.state != "running",
            is_followed.exists(),
        )
    ).rowcount


def _taken_over(claim: RunClaim) -> TickTakenOver:
    return TickTakenOver(
        f"attempt {claim.attempt} of run {claim.run_id} must be the newest, "
        "found another; nothing written"
    )


def _holds(claim: RunClaim) -> ColumnElement[bool]:
    return (
        (runs.c.id == claim.run_id)
        & (runs.c.attempt == claim.attempt)
        & (runs.c.state == "running")
    )


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
