"""Which model was in service when, and which ticks the service ran itself."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.store.forecasts import backfills
from forecaster.store.forecasts.backfills import ForecastRun
from forecaster.store.state import leases, models, run_history
from forecaster.store.state.leases import NOBODY
from forecaster.store.state.models import ModelRecord
from forecaster.times.durations import MICROSECOND

_BEFORE = timedelta(days=30)
"""How long before a range a tick may be that shows which model was in service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The models of a dataset that have their weights, and the ticks that the service ran."""

    records: Sequence[ModelRecord]
    ran: Mapping[datetime, ForecastRun]
    _run_ticks: Sequence[datetime] = field(default_factory=list)

    def at(self, tick: datetime) -> int | None:
        """Return the model that a run of this tick used, or would have used.

        The record of a model that was put back in service does not show when it served before; the
        ticks that the service ran then do.
        """
        used = self.ran[tick].model_id if tick in self.ran else None
        if self._is_usable(used):
            return used
        serving = [
            (model.promoted_at, model.model_id)
            for model in self.records
            if model.promoted_at is not None
            and model.promoted_at <= tick
            and (model.retired_at is None or tick < model.retired_at)
        ]
        return max(serving)[1] if serving else self._used_before(tick)

    def first(self) -> datetime | None:
        """Return when the first model was promoted."""
        return min((model.promoted_at for model in self.records if model.promoted_at), default=None)

    def _used_before(self, tick: datetime) -> int | None:
        place = bisect_right(self._run_ticks, tick)
        used = self.ran[self._run_ticks[place - 1]].model_id if place else None
        return used if self._is_usable(used) else None

    def _is_usable(self, model_id: int | None) -> bool:
        return any(model.model_id == model_id for model in self.records)


def lineage(conn: Connection, dataset: str, *, since: datetime) -> Lineage:
    """Read which model was in service from `since` on."""
    ran = backfills.succeeded_runs(conn, dataset, since=since - _BEFORE)
    usable = backfills.loadable_models(conn, dataset)
    return Lineage(
        records=[model for model in models.list_models(conn, dataset) if model.model_id in usable],
        ran=ran,
        _run_ticks=sorted(ran),
    )


def present(
    conn: Connection,
    dataset: str,
    ticks: Sequence[datetime],
    ran: Mapping[datetime, ForecastRun],
    *,
    only: int | None = None,
) -> set[datetime]:
    """Return the ticks that the service forecast, where the forecasts are still there.

    With `only`: that it forecast with this model.
    """
    by_model: defaultdict[int, dict[datetime, datetime]] = defaultdict(dict)
    for tick in ticks:
        run = ran.get(tick)
        if run is not None and run.model_id is not None and run.cutoff is not None:
            by_model[run.model_id][tick] = run.cutoff
    ticks_present: set[datetime] = set()
    for model_id, cutoffs in by_model.items():
        if only not in (None, model_id):
            continue
        since, until = min(cutoffs.values()), max(cutoffs.values())
        cutoffs_present = backfills.forecast_cutoffs(
            conn, dataset, model_id, since=since, until=until
        )
        ticks_present |= {tick for tick, cutoff in cutoffs.items() if cutoff in cutoffs_present}
    return ticks_present


def under_way(
    conn: Connection, dataset: DatasetConfig, ticks: Collection[datetime], now: datetime
) -> set[datetime]:
    """Return the ticks that a running service is running, or will run itself with newer data."""
    lease = leases.find(conn, leases.of_dataset(dataset.name))
    if lease is None or lease.holder == NOBODY or lease.left <= timedelta(0):
        return set()
    newest = run_history.latest(conn, "forecast", dataset.name)
    tried = {run.tick for run in run_history.unfinished(conn, "forecast", dataset.name)}
    reached = dataset.forecast_schedule.floor(now) - MICROSECOND if newest is None else newest.tick
    return {tick for tick in ticks if tick in tried or tick > reached}
