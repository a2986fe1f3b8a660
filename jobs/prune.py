"""Prune for one tick: delete what is older than retention keeps, and make room for what comes."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.store.connection.engine import reading
from forecaster.store.forecasts import attention, forecasts
from forecaster.store.maintenance import expiry, partitions
from forecaster.store.maintenance.partitions import PARTITIONED, Dropped
from forecaster.store.state import models, runs, watermarks
from jobs.execution.attempt import Attempt
from jobs.execution.reports import PruneReport
from jobs.stages.matured import CALENDAR_SLACK, JUDGED, grids_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ages:
    """The first instants of one dataset whose rows are kept."""

    limits: Mapping[str, datetime]
    """By large table that forgets."""
    judged: datetime | None
    """The last cutoff that was judged whole, None before there is one."""
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

    What belongs to a forecast ages from when its last step can be scored, not from its cutoff, and
    stays for as long as it was not: nothing is deleted before it was judged. A partition has rows
    of all `datasets`: it goes when it is too old for each of them.
    """
    tick, patience = attempt.tick, dataset.deadlines.train

    with attempt.stage("partitions", patience):
        ages = {each.name: _ages(engine, each, tick, retention) for each in datasets}
        made = partitions.make_ahead(engine, retention, tick)
        dropped = partitions.drop_before(engine, _shared([each.limits for each in ages.values()]))

    with attempt.stage("rows", patience):
        ours = ages[dataset.name]
        deleted = Counter({table: gone.rows for table, gone in dropped.items()})
        deleted.update(_delete_rows(engine, dataset.name, ours.limits))

    with attempt.stage("file", patience):
        pages = expiry.shrink(engine)

    def write(conn: Connection) -> PruneReport:
        records = _delete_records(conn, dataset.name, ours, retention.models)
        return PruneReport(
            dataset=dataset.name,
            tick=tick,
            deleted=deleted + Counter(records),
            partitions=_counts(made, dropped.values()),
            pages_given_back=pages,
            stages=attempt.seconds,
        )

    with attempt.stage("records", dataset.deadlines.write):
        report = attempt.commit(engine, write)

    return replace(report, stages=attempt.seconds)


def judged_to(conn: Connection, dataset: DatasetConfig, tick: datetime) -> datetime | None:
    """Return the last cutoff whose forecasts were judged whole, or None if they all wait.

    Where nothing waits at all, that is the last one that could be scored at `tick`: a dataset that
    never forecast anything holds up nobody.
    """
    slack = CALENDAR_SLACK if dataset.step.is_calendar else timedelta(0)
    lags = [grid.lag for grid in grids_of(conn, dataset.name).values()]
    horizon = dataset.prediction_length * dataset.step.approximate + slack
    horizon += max(lags, default=timedelta(0))  # until the cell of the last step is over
    possible = tick - dataset.delay - dataset.late_data - horizon
    scored = watermarks.get(conn, dataset.name, JUDGED)
    whole = None if scored is None else scored - horizon
    if not forecasts.awaits_scoring(conn, dataset.name, after=whole):
        return possible
    return None if whole is None else min(possible, whole)


def _ages(
    engine: Engine, dataset: DatasetConfig, tick: datetime, retention: RetentionConfig
) -> _Ages:
    with reading(engine) as conn:
        judged = judged_to(conn, dataset, tick)
    ages = {
        "observations": (tick, retention.observations),
        "forecasts": (judged, retention.forecasts),
        "attention": (judged, retention.attention),
        "accuracy": (judged, retention.accuracy),
    }
    return _Ages(
        limits={
            table: since - keep
            for table, (since, keep) in ages.items()
            if since is not None and keep is not None
        },
        judged=judged,
        runs=None if retention.runs is None else tick - retention.runs,
    )


def _shared(limits: Collection[Mapping[str, datetime]]) -> dict[str, datetime]:
    """Return for each table in partitions what is too old for every dataset."""
    return {
        table: min(found[table] for found in limits)
        for table in PARTITIONED
        if all(table in found for found in limits)
    }


def _delete_rows(engine: Engine, dataset: str, limits: Mapping[str, datetime]) -> dict[str, int]:
    return {
        table: expiry.delete_before(engine, dataset, table, before)
        for table, before in limits.items()
    }


def _counts(made: int, dropped: Collection[Dropped]) -> dict[str, int]:
    return {
        "made": made,
        "dropped": sum(gone.partitions for gone in dropped),
        "busy": sum(gone.busy for gone in dropped),
    }


def _delete_records(
    conn: Connection, dataset: str, ages: _Ages, models_kept: int
) -> dict[str, int]:
    """Delete what there is little of: patches, runs, and weights of models; return how many."""
    deleted = {}
    if "attention" in ages.limits:
        before = ages.limits["attention"]
        deleted["patches"] = attention.delete_patches_before(conn, dataset, before)
    if ages.runs is not None:
        deleted["runs"] = runs.delete_before(conn, dataset, ages.runs)
    if ages.judged is not None:
        deleted["models"] = models.prune(conn, dataset, models_kept, retired_before=ages.judged)
    return deleted
