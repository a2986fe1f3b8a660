"""Prune for one tick: delete what is older than retention keeps, and make room for what comes."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from forecaster.config import DatasetConfig, RetentionConfig
from forecaster.store import attention, expiry, models, partitions, runs
from forecaster.store.engine import writing
from forecaster.store.partitions import PARTITIONED, Dropped
from jobs.reports import PruneReport, Stopwatch, document
from jobs.ticks import Turn


def run(
    engine: Engine,
    dataset: DatasetConfig,
    turn: Turn,
    *,
    retention: RetentionConfig,
    datasets: Collection[DatasetConfig],
) -> PruneReport:
    """Delete rows of `dataset` that are older than `retention` at the tick of `turn`.

    What belongs to a forecast ages from when its last step can be scored, not from its cutoff:
    nothing is deleted before it was judged. A partition has rows of all `datasets`: it goes when
    it is too old for each of them.
    """
    watch, tick = Stopwatch(), turn.tick

    with watch.stage("partitions"):
        made = partitions.make_ahead(engine, retention, tick)
        dropped = _drop(engine, [_limits(each, tick, retention) for each in datasets])

    with watch.stage("rows"):
        deleted = Counter({table: gone.rows for table, gone in dropped.items()})
        for table, before in _limits(dataset, tick, retention).items():
            deleted[table] += expiry.delete_before(engine, dataset.name, table, before)

    with watch.stage("file"):
        pages = expiry.shrink(engine)

    with watch.stage("records"), writing(engine) as conn:
        deleted.update(_delete_records(conn, dataset, tick, retention))
        report = PruneReport(
            dataset=dataset.name,
            tick=tick,
            deleted=deleted,
            partitions={
                "made": made,
                "dropped": sum(gone.partitions for gone in dropped.values()),
                "busy": sum(gone.busy for gone in dropped.values()),
            },
            pages_given_back=pages,
            stages=watch.seconds,
        )
        runs.finish(conn, turn.claim, now=turn.clock(), report=document(report))

    return replace(report, stages=watch.seconds)


def settled(dataset: DatasetConfig, tick: datetime) -> datetime:
    """Return the last cutoff whose forecasts could be scored whole at `tick`."""
    horizon = dataset.prediction_length * dataset.step.approximate
    return tick - horizon - dataset.delay - dataset.late_data


def _limits(
    dataset: DatasetConfig, tick: datetime, retention: RetentionConfig
) -> dict[str, datetime]:
    """Return for each large table that forgets the first instant whose rows are kept."""
    scored = settled(dataset, tick)
    ages = {
        "observations": (tick, retention.observations),
        "forecasts": (scored, retention.forecasts),
        "attention": (scored, retention.attention),
        "accuracy": (scored, retention.accuracy),
    }
    return {table: since - age for table, (since, age) in ages.items() if age is not None}


def _drop(engine: Engine, limits: Collection[Mapping[str, datetime]]) -> dict[str, Dropped]:
    shared = {
        table: min(found[table] for found in limits)
        for table in PARTITIONED
        if all(table in found for found in limits)
    }
    return partitions.drop_before(engine, shared)


def _delete_records(
    conn: Connection, dataset: DatasetConfig, tick: datetime, retention: RetentionConfig
) -> dict[str, int]:
    """Delete what there is little of: patches, runs, and weights of models; return how many."""
    scored, deleted = settled(dataset, tick), {}
    if retention.attention is not None:
        before = scored - retention.attention
        deleted["patches"] = attention.delete_patches_before(conn, dataset.name, before)
    if retention.runs is not None:
        deleted["runs"] = runs.delete_before(conn, dataset.name, tick - retention.runs)
    deleted["models"] = models.prune(conn, dataset.name, retention.models, retired_before=scored)
    return deleted
