"""Reconcile one dataset for one tick: read all of its history again, and land what was missed."""

from dataclasses import replace

from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import reading
from jobs.execution.attempt import Attempt
from jobs.execution.reports import ReconcileReport
from jobs.stages import pull, pull_progress


def run(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> ReconcileReport:
    """Land rows that came, or were corrected, later than `late_data` allows for.

    Nothing is read when all of the history was read since the tick, as by a first pull.
    """
    with attempt.stage("pull", dataset.deadlines.train):
        with reading(engine) as conn:
            done = pull_progress.last_whole(conn, dataset.name)
        is_due = done is None or done < attempt.tick
        pulled = None
        if is_due:
            pulled = pull.run(engine, dataset, now=attempt.clock(), whole=True)

    def write(conn: Connection) -> ReconcileReport:
        pull_progress.advance(conn, dataset.name, pulled)
        return ReconcileReport(
            dataset=dataset.name, tick=attempt.tick, pull=pulled, stages=attempt.seconds
        )

    with attempt.stage("write", dataset.deadlines.write):
        report = attempt.commit(engine, write)

    return replace(report, stages=attempt.seconds)
