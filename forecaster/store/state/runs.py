"""Runs: one row per job, dataset and tick. It makes sure that each tick is run once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from forecaster.errors import TickAlreadyDone, TickTakenOver
from forecaster.store.column_types import printable
from forecaster.store.state import datasets
from forecaster.store.state.run_history import Run
from forecaster.store.tables import runs
from forecaster.store.upserts import insert_or

_KEY = ["job", "dataset_id", "tick"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClaim:
    """The right to write one tick; a later attempt takes it away."""

    run_id: int
    attempt: int


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
    """Record how much of a run is done, from 0 to 1, unless a later attempt took it over."""
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
    """Record ticks as missed, with the reason; return how many had no row yet."""
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
    """Record that runs which did not succeed will not be tried again; return how many still had to.

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
        f"attempt {claim.attempt} of run {claim.run_id} was superseded by a newer one; "
        "nothing written"
    )


def _holds(claim: RunClaim) -> ColumnElement[bool]:
    return (
        (runs.c.id == claim.run_id)
        & (runs.c.attempt == claim.attempt)
        & (runs.c.state == "running")
    )
