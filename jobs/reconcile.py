"""Reconcile one dataset for one tick: read all of its history again, and ingest what is new."""

from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import reading
from jobs.execution.attempt import Attempt
from jobs.execution.reports import ReconcileReport
from jobs.stages import pull, pull_progress


def run(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> ReconcileReport:
    """Ingest rows that arrived, or were corrected, later than `late_data` allows for.

    Nothing is read when all of the history was read since the tick, as by a first pull.
    """
    with attempt.stage("pull", dataset.deadlines.train):
        with reading(engine) as conn:
            done = pull_progress.last_full_read(conn, dataset.name)
        pulled = None
        if done is None or done < attempt.tick:
            pulled = pull.run(engine, dataset, now=attempt.clock(), all_history=True)

    def write(conn: Connection) -> ReconcileReport:
        pull_progress.advance(conn, dataset.name, pulled)
        return ReconcileReport(
            dataset=dataset.name, tick=attempt.tick, pull=pulled, stages=attempt.seconds
        )

    with attempt.stage("write", dataset.deadlines.write):
        return attempt.commit(engine, write)
