"""What happened to all datasets, read in one statement: whether a closer look is needed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from forecaster.store.column_types import Instant
from forecaster.store.tables import datasets, models, runs

JOBS = ("forecast", "score", "retrain", "reconcile", "prune")
RECENT = 10_000
"""Of so many newest run rows those are named that did not succeed: they are found by their key."""

_REVISION = sa.table("alembic_version", sa.column("version_num", sa.Text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A run that was started and did not succeed."""

    run_id: int
    job: str
    attempt: int
    state: str
    progress: float | None


@dataclass(slots=True)
class Mark:
    """Of one dataset: its champion, its greatest ticks by job, and what is unfinished."""

    champion: int | None = None
    newest: dict[str, datetime] = field(default_factory=dict)
    unfinished: set[Unfinished] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """A snapshot of the tables; unknown datasets are not in it."""

    revision: str | None
    marks: Mapping[str, Mark]


def read(conn: Connection) -> Activity:
    """Return the marks of all datasets, and the revision of the schema."""
    revision, marks = None, defaultdict[str, Mark](Mark)
    revisions = select(*_columns("revision", label=_REVISION.c.version_num))
    for row in conn.execute(sa.union_all(revisions, _champions(), _newest(), _unfinished())):
        match row.kind:
            case "revision":
                revision = row.label
            case "champion":
                marks[row.dataset].champion = row.number
            case "newest":
                if row.tick is not None:
                    marks[row.dataset].newest[row.label] = row.tick
            case "unfinished":
                marks[row.dataset].unfinished.add(
                    Unfinished(
                        run_id=row.number,
                        job=row.label,
                        attempt=row.attempt,
                        state=row.state,
                        progress=row.progress,
                    )
                )
    return Activity(revision=revision, marks=dict(marks))


def _columns(kind: str, **given: Any) -> list[sa.ColumnElement[Any]]:
    """Return the columns of every part, null where it gives none."""
    types: Mapping[str, Any] = {
        "dataset": sa.Text(),
        "label": sa.Text(),
        "number": sa.Integer(),
        "attempt": sa.Integer(),
        "state": sa.Text(),
        "tick": Instant(),
        "progress": sa.REAL(),
    }
    empty = {name: sa.cast(sa.null(), of) for name, of in types.items()}
    columns = {**empty, **given}
    return [sa.literal(kind).label("kind"), *(columns[name].label(name) for name in types)]


def _champions() -> sa.Select[Any]:
    columns = _columns("champion", dataset=datasets.c.name, number=models.c.id)
    is_champion = models.c.promoted_at.is_not(None), models.c.retired_at.is_(None)
    return select(*columns).join_from(models, datasets).where(*is_champion)


def _newest() -> sa.Select[Any]:
    """Select the greatest tick of each job: one descent of an index for each."""
    jobs = sa.union_all(*(select(sa.literal(job).label("job")) for job in JOBS)).subquery("jobs")
    greatest = (
        select(func.max(runs.c.tick))
        .where(runs.c.job == jobs.c.job, runs.c.dataset_id == datasets.c.id)
        .correlate(jobs, datasets)
        .scalar_subquery()
    )
    columns = _columns("newest", dataset=datasets.c.name, label=jobs.c.job, tick=greatest)
    return select(*columns).select_from(datasets.join(jobs, sa.true()))


def _unfinished() -> sa.Select[Any]:
    columns = _columns(
        "unfinished",
        dataset=datasets.c.name,
        label=runs.c.job,
        number=runs.c.id,
        attempt=runs.c.attempt,
        state=runs.c.state,
        progress=runs.c.progress,
    )
    last = select(func.max(runs.alias("last").c.id)).scalar_subquery()
    return (
        select(*columns)
        .join_from(runs, datasets)
        .where(runs.c.id > last - RECENT, runs.c.state.in_(["running", "failed"]))
    )
