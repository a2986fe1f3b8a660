"""The models in service, read once and kept in memory until another one is promoted.

If a model cannot be loaded, the last one that served before it is the fallback. A damaged model is
marked and never loaded again; one that needs another version, or a plug-in that is not configured,
is refused until that changes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DamagedCheckpoint, ModelError, NoChampion
from forecaster.inference import checkpoint
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.prediction import Prediction
from forecaster.network.spec import RETRAIN
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import models
from forecaster.store.state.models import ModelRecord

log = logging.getLogger("forecaster")

OnDamage = Callable[[str], None]
"""Called with the dataset of each model that is found damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """A model in service, ready to forecast."""

    model_id: int
    trained_to: datetime
    model: TrainedModel
    is_fallback: bool = False
    """Whether it serves only because a later one cannot be loaded."""

    def cutoff(self, known: datetime) -> datetime:
        """Return the timestamp of the last cell that is complete when all rows up to `known` are
        in."""
        grid = self.model.spec.grid()
        return grid.timestamp_at(grid.complete_at([known])[0])

    def marked(self, prediction: Prediction, cutoff: datetime) -> Prediction:
        """Return the prediction with the status and hindsight that follow from its model.

        A model that was trained on data after the cutoff, as when an old tick runs late or again,
        forecasts in hindsight: such forecasts are marked and never scored.
        """
        if self.is_fallback:
            prediction = prediction.with_status("fallback_champion", instead_of="ok")
        return prediction.with_hindsight(pl.lit(self.trained_to > cutoff))


@dataclass(slots=True)
class _Search:
    """The models of a dataset that were tried, until one could be loaded."""

    damaged: list[int] = field(default_factory=list)
    refused: list[ModelError] = field(default_factory=list)
    champion: Champion | None = None

    def fail(self, dataset: str) -> ModelError:
        """Return why no model can serve."""
        if self.refused:
            return self.refused[0]
        damaged = ", ".join(f"model {model_id} is damaged" for model_id in self.damaged)
        return NoChampion(
            f"dataset {dataset} has no champion" + (damaged and f": {damaged}"),
            hint="run `forecaster retrain`",
        )


class Champions:
    """One loaded champion per dataset."""

    def __init__(self, on_damage: OnDamage = lambda _dataset: None) -> None:
        self._on_damage = on_damage
        self._loaded: dict[str, tuple[object, Champion]] = {}

    def serving(self, engine: Engine, dataset: DatasetConfig, *, now: datetime) -> Champion:
        """Return the model in service, or its fallback.

        NoChampion when there is none; IncompatibleCheckpoint or UnusablePlugin when the only ones
        left need another version or plug-ins that `dataset` does not name: no other is imported.
        Models that are found damaged are marked in a transaction of their own.
        """
        with reading(engine) as conn:
            candidates = models.champion_and_fallbacks(conn, dataset.name)
        plugins = dataset.model.plugins
        loaded = self._loaded.get(dataset.name)
        if candidates and loaded and loaded[0] == (candidates[0].model_id, plugins):
            return loaded[1]
        search = _search(engine, dataset, candidates)
        self._mark(engine, dataset.name, search, now)
        if search.champion is None:
            raise search.fail(dataset.name)
        first = candidates[0].model_id
        in_service = search.champion.model_id if first in search.damaged else first
        self._loaded[dataset.name] = ((in_service, plugins), search.champion)
        return search.champion

    def _mark(self, engine: Engine, dataset: str, search: _Search, now: datetime) -> None:
        if not search.damaged:
            return
        successor = None if search.champion is None else search.champion.model_id
        with writing(engine) as conn:
            marked = models.mark_damaged(
                conn, dataset, search.damaged, successor=successor, now=now
            )
        for _ in marked:
            self._on_damage(dataset)


def _search(engine: Engine, dataset: DatasetConfig, candidates: Sequence[ModelRecord]) -> _Search:
    search = _Search()
    for record in candidates:
        try:
            search.champion = _load(
                engine, dataset, record, is_fallback=record is not candidates[0]
            )
        except DamagedCheckpoint as error:
            _log(dataset, record, "is damaged", error)
            search.damaged.append(record.model_id)
        except ModelError as error:
            _log(dataset, record, "cannot be loaded", error)
            search.refused.append(error)
        else:
            break
    return search


def _load(
    engine: Engine, dataset: DatasetConfig, record: ModelRecord, *, is_fallback: bool
) -> Champion:
    with reading(engine) as conn:
        weights = models.weights(conn, record.model_id)
        is_fallback = is_fallback or models.is_fallback(conn, dataset.name, record.model_id)
    if weights is None:
        raise DamagedCheckpoint("its weights are missing", hint=RETRAIN)
    return Champion(
        model_id=record.model_id,
        trained_to=record.trained_to,
        model=checkpoint.loads(weights, record.sha256, dataset.model.plugins),
        is_fallback=is_fallback,
    )


def _log(dataset: DatasetConfig, record: ModelRecord, what: str, error: ModelError) -> None:
    log.error(
        "dataset %s: model %d %s: %s; hint: %s",
        dataset.name, record.model_id, what, error.message, error.hint or "none",
    )  # fmt: skip
