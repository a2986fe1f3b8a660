"""Health of all datasets, from the tables: four small queries, however many there are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from forecaster.store.state import leases
from forecaster.store.state.run_history import Run
from forecaster.store.tables import datasets, models, runs, series

RECENT = 5
"""Newest runs of a job that are looked at."""
_TERMS = 400
"""SELECTs in one UNION; SQLite takes 500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The champion of a dataset."""

    model_id: int
    trained_to: datetime
    promoted_at: datetime
    is_fallback: bool
    """Whether it serves only because a later model was found damaged."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """What it is made of (`models.config`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one dataset; runs are those of the greatest ticks, the newest first."""

    dataset: str
    series: int
    newest_observation: datetime | None
    serving: Serving | None
    forecasts: tuple[Run, ...]
    retrains: tuple[Run, ...]
    last_forecast: Run | None
    """The newest that succeeded."""
    replicas: int
    """How many replicas are there, whatever they work on."""
    last_replica: datetime | None
    """When the last replica that has gone was last seen."""


def facts(conn: Connection, names: Iterable[str]) -> list[Facts]:
    """Return the facts of the datasets in `names`, and of others that are stored, by name."""
    known = {row.name: row for row in conn.execute(_known())}
    wanted = sorted({*names, *known})
    serving = {row.dataset: row for row in conn.execute(_serving())}
    recent = _recent(conn, {row.id: name for name, row in known.items()})
    members = [lease for lease in leases.read_all(conn).leases.values() if lease.is_member]
    active = [lease for lease in members if lease.left > timedelta(0)]
    return [
        Facts(
            dataset=name,
            series=known[name].series if name in known else 0,
            newest_observation=known[name].newest_observation if name in known else None,
            serving=_champion(serving[name]) if name in serving else None,
            forecasts=tuple(recent[name, "forecast", None]),
            retrains=tuple(recent[name, "retrain", None]),
            last_forecast=next(iter(recent[name, "forecast", "succeeded"]), None),
            replicas=len(active),
            last_replica=max((lease.expires_at for lease in members), default=None),
        )
        for name in wanted
    ]


def _known() -> sa.Select[Any]:
    count = select(func.count()).where(series.c.dataset_id == datasets.c.id).scalar_subquery()
    return select(
        datasets.c.id, datasets.c.name, datasets.c.newest_observation, count.label("series")
    )


def _serving() -> sa.Select[Any]:
    later = models.alias()
    damaged = select(later.c.id).where(
        later.c.dataset_id == models.c.dataset_id,
        later.c.id > models.c.id,
        later.c.promoted_at.is_not(None),
        later.c.damaged_at.is_not(None),
    )
    return (
        select(
            datasets.c.name.label("dataset"),
            models.c.id.label("model_id"),
            models.c.trained_to,
            models.c.promoted_at,
            damaged.exists().label("is_fallback"),
            models.c.config,
        )
        .join(datasets)
        .where(models.c.promoted_at.is_not(None), models.c.retired_at.is_(None))
    )


def _champion(row: sa.Row[Any]) -> Serving:
    return Serving(
        model_id=row.model_id,
        trained_to=row.trained_to,
        promoted_at=row.promoted_at,
        is_fallback=bool(row.is_fallback),
        spec=row.config,
    )


def _recent(
    conn: Connection, names: Mapping[int, str]
) -> Mapping[tuple[str, str, str | None], list[Run]]:
    """Return runs by dataset, job, and the state that was asked for, None for any."""
    by_job: dict[tuple[str, str, str | None], list[Run]] = defaultdict(list)
    wanted = [
        (dataset_id, *kind)
        for dataset_id in names
        for kind in (("forecast", None), ("retrain", None), ("forecast", "succeeded"))
    ]
    for first in range(0, len(wanted), _TERMS):
        terms = [_newest(*key) for key in wanted[first : first + _TERMS]]
        for row in conn.execute(sa.union_all(*terms)):
            values = dict(row._mapping)
            name, asked = names[values.pop("dataset_id")], values.pop("asked")
            by_job[name, row.job, asked].append(Run(dataset=name, **values))
    return by_job


def _newest(dataset_id: int, job: str, state: str | None) -> sa.Select[Any]:
    """Select the newest runs of one job: a descent of the index, where a window reads them all."""
    is_asked = [] if state is None else [runs.c.state == state]
    newest = (
        select(
            runs.c.id.label("run_id"),
            *(column for column in runs.c if column.name != "id"),
            sa.literal(state, sa.Text()).label("asked"),
        )
        .where(runs.c.dataset_id == dataset_id, runs.c.job == job, *is_asked)
        .order_by(runs.c.tick.desc())
        .limit(RECENT if state is None else 1)
        .subquery()
    )
    return select(newest)
