"""What the service ran, what a backfill has done, and what it may replace: its own rows only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

import polars as pl
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select

from forecaster.store.column_types import printable
from forecaster.store.forecasts.forecasts import by_series
from forecaster.store.state import datasets
from forecaster.store.tables import accuracy, attention, forecasts, models, runs
from forecaster.store.upserts import insert_or

State = Literal["succeeded", "failed"]

_CUTOFFS_AT_ONCE = 1000
"""In one statement: databases limit how many parameters it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRun:
    """One tick that the service ran: what it knew, and the model it asked."""

    known_to: datetime
    model_id: int | None
    cutoff: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTick:
    """One tick that a backfill came to an end with."""

    state: State
    model_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRow:
    """How one tick of a backfill went: its run row."""

    tick: datetime
    state: State
    started_at: datetime
    finished_at: datetime
    report: Mapping[str, Any] | None = None
    error: str | None = None
    hint: str | None = None


def succeeded_runs(
    conn: Connection, dataset: str, *, since: datetime
) -> dict[datetime, ForecastRun]:
    """Return the forecast ticks from `since` on that the service ran to their end."""
    noted = (_report_value(conn, name) for name in ("known_to", "model_id", "cutoff"))
    query = select(runs.c.tick, runs.c.started_at, *noted).where(
        runs.c.job == "forecast",
        runs.c.dataset_id.in_(datasets.id_of(dataset)),
        runs.c.state == "succeeded",
        runs.c.tick >= since,
    )
    return {
        row.tick: ForecastRun(
            known_to=datetime.fromisoformat(row.known_to) if row.known_to else row.started_at,
            model_id=None if row.model_id is None else int(row.model_id),
            cutoff=None if row.cutoff is None else datetime.fromisoformat(row.cutoff),
        )
        for row in conn.execute(query)
    }


def finished_ticks(
    conn: Connection, dataset: str, job: str, *, since: datetime, until: datetime
) -> dict[datetime, FinishedTick]:
    """Return the ticks between `since` and `until` that have a run row of this job."""
    query = select(runs.c.tick, runs.c.state, _report_value(conn, "model_id")).where(
        runs.c.job == job,
        runs.c.dataset_id.in_(datasets.id_of(dataset)),
        runs.c.tick.between(since, until),
    )
    return {
        row.tick: FinishedTick(
            state=row.state, model_id=None if row.model_id is None else int(row.model_id)
        )
        for row in conn.execute(query)
    }


def report_of(conn: Connection, dataset: str, job: str, tick: datetime) -> Mapping[str, Any] | None:
    """Return what the run row of a tick notes; None where there is none."""
    query = select(runs.c.report).where(
        runs.c.job == job, runs.c.dataset_id.in_(datasets.id_of(dataset)), runs.c.tick == tick
    )
    report: Mapping[str, Any] | None = conn.scalar(query)
    return report


def oldest_start(
    conn: Connection, dataset: str, *, finished_after: datetime | None
) -> datetime | None:
    """Return when the first was begun of the backfilled ticks that were done after an instant."""
    query = select(sa.func.min(runs.c.started_at, type_=runs.c.started_at.type)).where(
        or_(runs.c.job == "backfill", runs.c.job.startswith("backfill-", autoescape=True)),
        runs.c.dataset_id.in_(datasets.id_of(dataset)),
        runs.c.state == "succeeded",
    )
    if finished_after is not None:
        query = query.where(runs.c.finished_at > finished_after)
    started_at: datetime | None = conn.scalar(query)
    return started_at


def claim(
    conn: Connection, dataset: str, job: str, rows: Sequence[TickRow], *, again: bool
) -> set[datetime]:
    """Write the run rows of ticks; return those that were not done before.

    Ticks that succeeded before are left as they are, unless they are to be done `again`. Concurrent
    writers of the same ticks wait for the end of the transaction.
    """
    insert = insert_or(conn, runs)
    columns = ("state", "started_at", "finished_at", "report", "error", "hint")
    statement = insert.on_conflict_do_update(
        index_elements=["job", "dataset_id", "tick"],
        set_={
            **{name: insert.excluded[name] for name in columns},
            "attempt": runs.c.attempt + 1,
        },
        where=sa.true() if again else runs.c.state != "succeeded",
    ).returning(runs.c.tick)
    owner = datasets.dataset_id(conn, dataset)
    parameters = [
        {field.name: getattr(row, field.name) for field in fields(TickRow)}
        | {"job": job, "dataset_id": owner, "attempt": 1}
        | {"error": None if row.error is None else printable(row.error)}
        for row in rows
    ]
    return set(conn.scalars(statement, parameters)) if parameters else set()


def forecast_keys(
    conn: Connection, dataset: str, model_id: int, *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return KEYS: what a model has forecast at the cutoffs between `since` and `until`."""
    limits = forecasts.c.cutoff.between(since, until)
    return by_series(conn, dataset, forecasts, model_id, limits)


def attention_keys(
    conn: Connection, dataset: str, model_id: int, *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return KEYS of what there is attention of, between `since` and `until`."""
    limits = attention.c.cutoff.between(since, until)
    return by_series(conn, dataset, attention, model_id, limits)


def forecast_cutoffs(
    conn: Connection, dataset: str, model_id: int, *, since: datetime, until: datetime
) -> set[datetime]:
    """Return the cutoffs between `since` and `until` at which a model has forecast anything."""
    query = select(forecasts.c.cutoff).where(
        forecasts.c.series_id.in_(datasets.series_of(dataset)),
        forecasts.c.cutoff.between(since, until),
        forecasts.c.model_id == model_id,
    )
    return set(conn.scalars(query.distinct()))


def loadable_models(conn: Connection, dataset: str) -> set[int]:
    """Return the models that have weights, and undamaged ones."""
    query = select(models.c.id).where(
        models.c.dataset_id.in_(datasets.id_of(dataset)),
        models.c.weights.is_not(None),
        models.c.damaged_at.is_(None),
    )
    return set(conn.scalars(query))


def delete_forecasts(
    conn: Connection,
    dataset: str,
    owners: Iterable[int],
    cutoffs: Iterable[datetime],
    *,
    hindsight: bool,
) -> int:
    """Delete forecasts of backfills by these models at these cutoffs; return how many rows.

    With its attention and accuracy. Either hindsight forecasts are deleted, or the
    others; forecasts of the service are kept.
    """
    models, distinct = set(owners), sorted(set(cutoffs))
    parts = (
        distinct[at : at + _CUTOFFS_AT_ONCE] for at in range(0, len(distinct), _CUTOFFS_AT_ONCE)
    )
    return sum(_delete_some(conn, dataset, models, part, _is_kind(hindsight)) for part in parts)


def delete_hindsight(
    conn: Connection, dataset: str, model_id: int, cutoffs: Sequence[datetime]
) -> int:
    """Delete the hindsight forecasts of a model at these cutoffs; return how many rows.

    They occupy the keys of its other forecasts.
    """
    limits = forecasts.c.cutoff.between(min(cutoffs), max(cutoffs)) & _is_kind(True)
    masked = set(by_series(conn, dataset, forecasts, model_id, limits)["cutoff"])
    return delete_forecasts(conn, dataset, [model_id], masked.intersection(cutoffs), hindsight=True)


def _is_kind(hindsight: bool) -> ColumnElement[bool]:
    return forecasts.c.hindsight if hindsight else ~forecasts.c.hindsight


def _delete_some(
    conn: Connection,
    dataset: str,
    owners: Collection[int],
    cutoffs: Sequence[datetime],
    is_kind: ColumnElement[bool],
) -> int:
    ours = and_(
        forecasts.c.series_id.in_(datasets.series_of(dataset)),
        forecasts.c.cutoff.in_(cutoffs),
        forecasts.c.model_id.in_(owners),
        forecasts.c.origin == "backfill",
        is_kind,
    )
    for table in (attention, accuracy):
        conn.execute(delete(table).where(_is_of(table, ours, cutoffs)))
    return conn.execute(delete(forecasts).where(ours)).rowcount


def _is_of(
    table: sa.Table, ours: ColumnElement[bool], cutoffs: Sequence[datetime]
) -> ColumnElement[bool]:
    same = (table.c[name] == forecasts.c[name] for name in ("series_id", "cutoff", "model_id"))
    return and_(
        table.c.cutoff.in_(cutoffs),
        select(forecasts.c.cutoff).where(ours, *same).exists(),
    )


def _report_value(conn: Connection, name: str) -> ColumnElement[str]:
    """Return a value of a JSON report, as text."""
    if conn.dialect.name == "postgresql":
        return sa.func.jsonb_extract_path_text(runs.c.report, name, type_=sa.Text).label(name)
    return sa.func.json_extract(runs.c.report, f"$.{name}", type_=sa.Text).label(name)
