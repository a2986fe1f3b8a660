"""Prune one dataset for one tick: delete what is older than retention keeps."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from forecaster.config import DatasetConfig, RetentionConfig
from forecaster.store import accuracy, attention, forecasts, models, observations, runs
from forecaster.store.engine import writing
from jobs.reports import PruneReport, Stopwatch, document
from jobs.ticks import Turn

DeleteBefore = Callable[[Connection, str, datetime], int]


def run(
    engine: Engine, dataset: DatasetConfig, turn: Turn, *, retention: RetentionConfig
) -> PruneReport:
    """Delete rows that are older than `retention` at the tick of `turn`."""
    watch = Stopwatch()

    with watch.stage("delete"), writing(engine) as conn:
        deleted = {
            name: delete_before(conn, dataset.name, turn.tick - age)
            for name, (delete_before, age) in _limits(retention).items()
            if age is not None
        }
        deleted["models"] = models.prune(conn, dataset.name, retention.models)
        report = PruneReport(
            dataset=dataset.name, tick=turn.tick, deleted=deleted, stages=watch.seconds
        )
        runs.finish(conn, turn.claim, now=turn.clock(), report=document(report))

    return replace(report, stages=watch.seconds)


def _limits(retention: RetentionConfig) -> dict[str, tuple[DeleteBefore, timedelta | None]]:
    return {
        "observations": (observations.delete_before, retention.observations),
        "attention": (attention.delete_before, retention.attention),
        "forecasts": (forecasts.delete_before, retention.forecasts),
        "accuracy": (accuracy.delete_before, retention.accuracy),
        "runs": (runs.delete_before, retention.runs),
    }
