"""Trained models: opaque bytes with their scores, and which of them is in service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, literal, or_, select, update

from forecaster.errors import ModelError, NoChampion
from forecaster.store import tables
from forecaster.store.state import datasets
from forecaster.store.tables import models

_LIST_HINT = "run `forecaster models list`"
_IS_CHAMPION = and_(models.c.promoted_at.is_not(None), models.c.retired_at.is_(None))
_IS_LOADABLE = and_(models.c.weights.is_not(None), models.c.damaged_at.is_(None))
_RECORD = [
    models.c.id.label("model_id"),
    tables.datasets.c.name.label("dataset"),
    *(column for column in models.c if column.name not in {"id", "dataset_id", "weights"}),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A checkpoint to keep; `parent_id` is the champion it was trained to succeed.

    `reason` is why it is kept though it is not in service.
    """

    config: Mapping[str, Any]
    weights: bytes
    sha256: str
    scores: Mapping[str, float]
    trained_from: datetime
    trained_to: datetime
    parent_id: int | None
    created_at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What is known of a model, without its weights; `size` is theirs in bytes."""

    model_id: int
    dataset: str
    created_at: datetime
    config: Mapping[str, Any]
    sha256: str
    size: int
    scores: Mapping[str, float | None]
    parent_id: int | None
    trained_from: datetime
    trained_to: datetime
    promoted_at: datetime | None
    retired_at: datetime | None
    reason: str | None
    damaged_at: datetime | None = None

    @property
    def is_champion(self) -> bool:
        return self.promoted_at is not None and self.retired_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel(ModelRecord):
    """A model with its weights."""

    weights: bytes


def add(conn: Connection, dataset: str, model: NewModel) -> int:
    """Keep a model, not in service yet; return its id."""
    model_id = conn.scalar(
        insert(models)
        .values(
            dataset_id=datasets.dataset_id(conn, dataset),
            size=len(model.weights),
            **{field.name: getattr(model, field.name) for field in fields(NewModel)},
        )
        .returning(models.c.id)
    )
    assert model_id is not None
    return int(model_id)


def add_scores(conn: Connection, dataset: str, model_id: int, scores: Mapping[str, float]) -> None:
    """Add to the scores of a model, in place of those of the same name; ModelError if unknown."""
    datasets.lock(conn, dataset)
    _require_weights(conn, dataset, model_id)
    known = conn.scalar(select(models.c.scores).where(models.c.id == model_id))
    conn.execute(
        update(models).where(models.c.id == model_id).values(scores={**(known or {}), **scores})
    )


def promote(conn: Connection, dataset: str, model_id: int, *, now: datetime, reason: str) -> None:
    """Put a model in service and retire the one that was; ModelError if it cannot serve."""
    datasets.lock(conn, dataset)
    owner = datasets.dataset_id(conn, dataset)
    _require_weights(conn, dataset, model_id)
    _require_undamaged(conn, model_id)
    conn.execute(
        update(models)
        .where(models.c.dataset_id == owner, _IS_CHAMPION, models.c.id != model_id)
        .values(retired_at=now)
    )
    conn.execute(
        update(models)
        .where(models.c.id == model_id)
        .values(promoted_at=now, retired_at=None, reason=reason)
    )


def rollback(conn: Connection, dataset: str, *, now: datetime, reason: str) -> int:
    """Put the last model back in service that served before the champion was made; return its id.

    Doing it again goes back further. ModelError when there is none with weights.
    """
    datasets.lock(conn, dataset)
    current = champion(conn, dataset).model_id
    earlier = conn.scalar(
        select(func.max(models.c.id)).where(
            models.c.dataset_id.in_(datasets.id_of(dataset)),
            models.c.id < current,
            models.c.promoted_at.is_not(None),
            _IS_LOADABLE,
        )
    )
    if earlier is None:
        raise ModelError(
            f"dataset {dataset} has no earlier champion than model {current}",
            hint=_LIST_HINT,
        )
    promote(conn, dataset, earlier, now=now, reason=reason)
    return int(earlier)


def champion_and_fallbacks(conn: Connection, dataset: str) -> list[ModelRecord]:
    """Return the champion, then the models that can stand in for it, the newest first.

    These served before it was made, and have weights that are not known to be damaged.
    """
    owned = models.c.dataset_id.in_(datasets.id_of(dataset))
    current = select(models.c.id).where(owned, _IS_CHAMPION).scalar_subquery()
    served = and_(models.c.id < current, models.c.promoted_at.is_not(None), _IS_LOADABLE)
    rows = conn.execute(
        select(*_RECORD)
        .join(tables.datasets)
        .where(owned, or_(models.c.id == current, served))
        .order_by(models.c.id.desc())
    )
    return [ModelRecord(**row._mapping) for row in rows]


def weights(conn: Connection, model_id: int) -> bytes | None:
    """Return the bytes of a model, of which nothing is known yet; None where they are gone."""
    return conn.scalar(select(models.c.weights).where(models.c.id == model_id))


def is_fallback(conn: Connection, dataset: str, model_id: int) -> bool:
    """Return whether a later model served and was found damaged."""
    query = select(models.c.id).where(
        models.c.dataset_id.in_(datasets.id_of(dataset)),
        models.c.id > model_id,
        models.c.promoted_at.is_not(None),
        models.c.damaged_at.is_not(None),
    )
    return conn.scalar(query.limit(1)) is not None


def mark_damaged(
    conn: Connection, dataset: str, damaged: Sequence[int], *, successor: int | None, now: datetime
) -> list[int]:
    """Record that the bytes of models are not what was written; return those not known before.

    They leave service. Where the champion is one of them, `successor` takes its place.
    """
    datasets.lock(conn, dataset)
    owned = models.c.dataset_id.in_(datasets.id_of(dataset))
    current = conn.scalar(select(models.c.id).where(owned, _IS_CHAMPION))
    retired = func.coalesce(models.c.retired_at, literal(now, models.c.retired_at.type))
    marked = conn.scalars(
        update(models)
        .where(owned, models.c.id.in_(damaged), models.c.damaged_at.is_(None))
        .values(damaged_at=now, retired_at=retired)
        .returning(models.c.id)
    ).all()
    if current in damaged and successor is not None:
        promote(conn, dataset, successor, now=now, reason=f"model {current} is damaged")
    return list(marked)


def champion(conn: Connection, dataset: str) -> StoredModel:
    """Return the model in service; NoChampion before the first was promoted."""
    row = conn.execute(
        select(*_RECORD, models.c.weights)
        .join(tables.datasets)
        .where(tables.datasets.c.name == dataset, _IS_CHAMPION)
    ).one_or_none()
    if row is None:
        raise NoChampion(
            f"dataset {dataset} has no champion",
            hint="run `forecaster retrain`",
        )
    return StoredModel(**row._mapping)


def has_champion(conn: Connection, dataset: str) -> bool:
    """Return whether a model is in service."""
    query = select(models.c.id).where(
        models.c.dataset_id.in_(datasets.id_of(dataset)), _IS_CHAMPION
    )
    return conn.scalar(query) is not None


def get(conn: Connection, dataset: str, model_id: int) -> StoredModel:
    """Return one model; ModelError if the dataset has none of this id, or its weights are gone."""
    _require_weights(conn, dataset, model_id)
    row = conn.execute(
        select(*_RECORD, models.c.weights).join(tables.datasets).where(models.c.id == model_id)
    ).one()
    return StoredModel(**row._mapping)


def config(conn: Connection, model_id: int) -> Mapping[str, Any]:
    """Return what a model is made of: its spec, as it was stored beside the weights."""
    spec: Mapping[str, Any] = conn.scalars(
        select(models.c.config).where(models.c.id == model_id)
    ).one()
    return spec


def list_models(conn: Connection, dataset: str) -> list[ModelRecord]:
    """Return all models of a dataset, the newest first."""
    rows = conn.execute(
        select(*_RECORD)
        .join(tables.datasets)
        .where(tables.datasets.c.name == dataset)
        .order_by(models.c.id.desc())
    )
    return [ModelRecord(**row._mapping) for row in rows]


def prune(conn: Connection, dataset: str, keep: int, *, retired_before: datetime) -> int:
    """Drop the weights of models that left service before an instant, but for the newest `keep`.

    Return how many. Their rows stay: forecasts refer to them. Models that never served, as those of
    a backfill, do not count as kept.
    """
    others = and_(
        models.c.dataset_id.in_(datasets.id_of(dataset)),
        ~_IS_CHAMPION,
        models.c.weights.is_not(None),
    )
    is_old = func.coalesce(models.c.retired_at, models.c.created_at) < retired_before
    good = and_(others, _IS_LOADABLE, models.c.promoted_at.is_not(None))
    newest = select(models.c.id).where(good).order_by(models.c.id.desc()).limit(keep)
    return conn.execute(
        update(models).where(others, is_old, models.c.id.not_in(newest)).values(weights=None)
    ).rowcount


def _require_weights(conn: Connection, dataset: str, model_id: int) -> None:
    row: Row[Any] | None = conn.execute(
        select(models.c.weights.is_not(None)).where(
            models.c.id == model_id, models.c.dataset_id.in_(datasets.id_of(dataset))
        )
    ).one_or_none()
    if row is None:
        raise ModelError(f"dataset {dataset} has no model {model_id}", hint=_LIST_HINT)
    if not row[0]:
        raise ModelError(f"the weights of model {model_id} were pruned", hint=_LIST_HINT)


def _require_undamaged(conn: Connection, model_id: int) -> None:
    damaged_at = conn.scalar(select(models.c.damaged_at).where(models.c.id == model_id))
    if damaged_at is not None:
        raise ModelError(
            f"model {model_id} is damaged, found on {damaged_at:%Y-%m-%d}",
            hint=_LIST_HINT,
        )
