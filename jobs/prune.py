"""Prune for one tick: delete rows older than their retention, and create partitions ahead."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import attention, forecasts
from forecaster.store.maintenance import expiry, partitions
from forecaster.store.maintenance.partitions import PARTITIONED
from forecaster.store.state import models, runs, watermarks
from jobs.execution.attempt import Attempt
from jobs.execution.reports import PruneReport
from jobs.stages.matured import CALENDAR_SLACK, SCORED, grids_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ages:
    """The first instants of one dataset whose rows are kept."""

    limits: Mapping[str, datetime]
    """By large table that has a retention."""
    scored: datetime | None
    """The last cutoff of which all leads were scored, None before there is one."""
    runs: datetime | None


def run(
    engine: Engine,
    dataset: DatasetConfig,
    attempt: Attempt,
    *,
    retention: RetentionConfig,
    datasets: Collection[DatasetConfig],
) -> PruneReport:
    """Delete rows of `dataset` that are older than `retention` at the tick of `attempt`.

    The age of a forecast counts from when its last step can be scored, not from its cutoff, and
    nothing is deleted before it was scored. A partition holds rows of all `datasets`: it is dropped
    when it is too old for each of them.
    """
    tick, within = attempt.tick, dataset.deadlines.train

    with attempt.stage("partitions", within):
        ages = {config.name: _ages(engine, config, tick, retention) for config in datasets}
        made = partitions.make_ahead(engine, retention, tick)
        dropped = partitions.drop_before(engine, _shared([age.limits for age in ages.values()]))

    with attempt.stage("rows", within):
        own = ages[dataset.name]
        deleted = Counter({table: drop.rows for table, drop in dropped.items()})
        for table, limit in own.limits.items():
            deleted[table] += expiry.delete_before(engine, dataset.name, table, limit)

    with attempt.stage("file", within):
        pages = expiry.shrink(engine)

    def write(conn: Connection) -> PruneReport:
        return PruneReport(
            dataset=dataset.name,
            tick=tick,
            deleted=deleted + _delete_records(conn, dataset.name, own, retention.models),
            partitions={
                "made": made,
                "dropped": sum(drop.partitions for drop in dropped.values()),
                "busy": sum(drop.busy for drop in dropped.values()),
            },
            pages_given_back=pages,
            stages=attempt.seconds,
        )

    with attempt.stage("records", dataset.deadlines.write):
        return attempt.commit(engine, write)


def scored_to(conn: Connection, dataset: DatasetConfig, tick: datetime) -> datetime | None:
    """Return the last cutoff of which all leads were scored, or None if all are pending.

    If nothing is pending, that is the last one that could be scored at `tick`: a dataset without
    forecasts does not delay pruning.
    """
    slack = CALENDAR_SLACK if dataset.step.is_calendar else timedelta(0)
    lags = [grid.lag for grid in grids_of(conn, dataset.name).values()]
    horizon = dataset.prediction_length * dataset.step.approximate + slack
    horizon += max(lags, default=timedelta(0))  # until the cell of the last step is over
    possible = tick - dataset.delay - dataset.late_data - horizon
    scored_cutoff = watermarks.get(conn, dataset.name, SCORED)
    complete = None if scored_cutoff is None else scored_cutoff - horizon
    if not forecasts.awaits_scoring(conn, dataset.name, after=complete):
        return possible
    return None if complete is None else min(possible, complete)


def _ages(
    engine: Engine, dataset: DatasetConfig, tick: datetime, retention: RetentionConfig
) -> _Ages:
    with reading(engine) as conn:
        scored = scored_to(conn, dataset, tick)
    ages = {
        "observations": (tick, retention.observations),
        "forecasts": (scored, retention.forecasts),
        "attention": (scored, retention.attention),
        "accuracy": (scored, retention.accuracy),
    }
    return _Ages(
        limits={
            table: since - keep
            for table, (since, keep) in ages.items()
            if since is not None and keep is not None
        },
        scored=scored,
        runs=None if retention.runs is None else tick - retention.runs,
    )


def _shared(limits: Collection[Mapping[str, datetime]]) -> dict[str, datetime]:
    """Return for each partitioned table the instant before which every dataset has expired."""
    return {
        table: min(limit[table] for limit in limits)
        for table in PARTITIONED
        if all(table in limit for limit in limits)
    }


def _delete_records(conn: Connection, dataset: str, ages: _Ages, models_kept: int) -> Counter[str]:
    """Delete rows of small tables: patches, runs, and weights of models; return how many."""
    deleted: Counter[str] = Counter()
    if "forecasts" in ages.limits:
        before = ages.limits["forecasts"]
        deleted["steps"] = forecasts.delete_steps_before(conn, dataset, before)
    if "attention" in ages.limits:
        before = ages.limits["attention"]
        deleted["patches"] = attention.delete_patches_before(conn, dataset, before)
    if ages.runs is not None:
        deleted["runs"] = runs.delete_before(conn, dataset, ages.runs)
    if ages.scored is not None:
        deleted["models"] = models.prune(conn, dataset, models_kept, retired_before=ages.scored)
    return deleted
