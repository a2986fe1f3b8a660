"""Reconcile one dataset for one tick: read all of its history again, and land what was missed."""

from dataclasses import replace

from sqlalchemy import Engine

from forecaster.config import DatasetConfig
from forecaster.store import runs
from forecaster.store.engine import reading, writing
from jobs import pull
from jobs.reports import ReconcileReport, Stopwatch, document
from jobs.ticks import Turn


def run(engine: Engine, dataset: DatasetConfig, turn: Turn) -> ReconcileReport:
    """Land rows that came, or were corrected, later than `late_data` allows for.

    Nothing is read when all of the history was read since the tick, as by a first pull.
    """
    watch = Stopwatch()

    with watch.stage("pull"):
        with reading(engine) as conn:
            done = pull.last_whole(conn, dataset.name)
        is_due = done is None or done < turn.tick
        pulled = None
        if is_due:
            pulled = pull.run(engine, dataset, now=turn.clock(), whole=True)

    with watch.stage("write"), writing(engine) as conn:
        report = ReconcileReport(
            dataset=dataset.name, tick=turn.tick, pull=pulled, stages=watch.seconds
        )
        runs.finish(conn, turn.claim, now=turn.clock(), report=document(report))
        pull.advance(conn, dataset.name, pulled)

    return replace(report, stages=watch.seconds)
