"""How far a source was read: kept by the pull that got furthest, whichever ends last."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Engine

from forecaster.source.cursor import Cursor
from forecaster.store.connection.engine import writing
from jobs.execution.reports import PullReport
from jobs.stages import pull, pull_progress
from tests.jobs.small import hour, rows
from tests.jobs.stages.test_pull import (
    PULLED,
    arrive,
    landed,
    pulls,
    source,
)
from tests.tolerance import assert_same_rows

__all__ = ["source"]


def test_history_before_all_that_was_read_is_read_where_it_is_needed(source: Engine) -> None:
    arrive(source, rows("a", 0, 300))
    pulls(source, 300)

    older = pull.run(source, PULLED, now=hour(300), needed_from=hour(50))
    assert older is not None
    with writing(source) as conn:
        pull_progress.advance(conn, PULLED.name, older)
    again = pull.run(source, PULLED, now=hour(301), needed_from=hour(50))

    assert older.whole == "older history is needed than was read so far"
    assert_same_rows(landed(source), rows("a", 50, 300))
    assert again is not None
    assert again.whole is None


def test_a_pull_that_ends_after_a_later_one_takes_no_watermark_back(engine: Engine) -> None:
    position = Cursor(
        column="id", cluster="c", newest_transaction=1, position=1, safe=None, running=frozenset()
    )
    early = pull_report(hour(1), replace(position, position=10))
    late = pull_report(hour(5), replace(position, position=50))

    with writing(engine) as conn:
        pull_progress.advance(conn, "bikes", late)
        pull_progress.advance(conn, "bikes", early)
        reached = pull_progress.reached(conn, "bikes")

    assert reached.newest == hour(5)
    assert reached.ingested is not None
    assert reached.ingested.position == 50


def pull_report(until: datetime, progress: Cursor) -> PullReport:
    return PullReport(
        since=hour(0), until=until, rows=0, new=0, corrected=0, unchanged=0, late=0, outside=0,
        rejected={}, examples={}, duplicates=0, conflicting=0, watermark=until, whole=None,
        progress=progress.document(),
    )  # fmt: skip
