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
    """Delete rows that are older than `retention` at the tick of `turn`.

    What belongs to a forecast ages from when its last step can be scored, not from its cutoff:
    nothing is deleted before it was judged.
    """
    watch = Stopwatch()

    with watch.stage("delete"), writing(engine) as conn:
        deleted = {
            name: delete_before(conn, dataset.name, since - age)
            for name, (delete_before, since, age) in _limits(dataset, turn.tick, retention).items()
            if age is not None
        }
        deleted["models"] = models.prune(
            conn, dataset.name, retention.models, retired_before=settled(dataset, turn.tick)
        )
        report = PruneReport(
            dataset=dataset.name, tick=turn.tick, deleted=deleted, stages=watch.seconds
        )
        runs.finish(conn, turn.claim, now=turn.clock(), report=document(report))

    return replace(report, stages=watch.seconds)


def settled(dataset: DatasetConfig, tick: datetime) -> datetime:
    """Return the last cutoff whose forecasts could be scored whole at `tick`."""
    horizon = dataset.prediction_length * dataset.step.approximate
    return tick - horizon - dataset.delay - dataset.late_data


def _limits(
    dataset: DatasetConfig, tick: datetime, retention: RetentionConfig
) -> dict[str, tuple[DeleteBefore, datetime, timedelta | None]]:
    """Return for each table how it is pruned, from when on its rows age, and how old they get."""
    scored = settled(dataset, tick)
    return {
        "observations": (observations.delete_before, tick, retention.observations),
        "attention": (attention.delete_before, scored, retention.attention),
        "forecasts": (forecasts.delete_before, scored, retention.forecasts),
        "accuracy": (accuracy.delete_before, scored, retention.accuracy),
        "runs": (runs.delete_before, tick, retention.runs),
    }
