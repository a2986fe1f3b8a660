"""One attempt at one tick: its stages are timed and cut, and its transaction is written once."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity
from sqlalchemy import Connection, Engine, text

from forecaster.errors import DatabaseUnavailable, DataError, StageTimedOut, TickTakenOver
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Limit, guarded
from forecaster.store.state import run_history, runs
from jobs.execution import hang_detection
from jobs.execution.attempt import Attempt
from jobs.execution.reports import PruneReport
from tests.jobs.small import DATASET, fixed, hour, query

pytestmark = pytest.mark.quick_on("postgres")

NOW = hour(5)
SHORT = timedelta(seconds=0.05)


@pytest.fixture
def attempt(engine: Engine) -> Attempt:
    with writing(engine) as conn:
        claim = runs.claim(conn, "prune", DATASET.name, NOW, NOW)
        conn.execute(text("CREATE TABLE made (number INTEGER)"))
    return Attempt(tick=NOW, claim=claim, clock=fixed(NOW))


def report() -> PruneReport:
    return PruneReport(dataset=DATASET.name, tick=NOW, deleted={"forecasts": 3})


def failing(times: int, error: Exception) -> Callable[[Connection], PruneReport]:
    """Write a row, and fail so many times before it is kept."""
    left = [error] * times

    def write(conn: Connection) -> PruneReport:
        conn.execute(text("INSERT INTO made VALUES (1)"))
        if left:
            raise left.pop()
        return report()

    return write


def state(engine: Engine) -> object:
    return query(engine, "SELECT state FROM runs")[0][0]


def test_a_stage_that_is_entered_twice_adds_up(attempt: Attempt) -> None:
    for _ in range(2):
        with attempt.stage("read", timedelta(minutes=1)):
            pass

    assert list(attempt.seconds) == ["read"]
    assert attempt.seconds["read"] > 0


def test_a_stage_ends_when_it_asks_after_its_deadline(attempt: Attempt) -> None:
    too_late = r'stage "predict" timed out after 0\.05 s'
    with attempt.stage("predict", SHORT):
        time.sleep(0.1)
        with pytest.raises(StageTimedOut, match=too_late):
            attempt.limit.check()


def test_a_run_and_what_it_made_are_committed_together(attempt: Attempt, engine: Engine) -> None:
    assert attempt.commit(engine, failing(0, DataError("never"))) == report()

    assert state(engine) == "succeeded"
    assert query(engine, "SELECT count(*) FROM made") == [(1,)]


def test_a_transaction_that_another_one_disturbed_is_tried_again(
    attempt: Attempt, engine: Engine
) -> None:
    attempt.commit(engine, failing(2, DatabaseUnavailable("it must be free, found a deadlock")))

    assert state(engine) == "succeeded"
    assert query(engine, "SELECT count(*) FROM made") == [(1,)]
    assert attempt.retries == ["it must be free, found a deadlock"] * 2


@pytest.mark.fault(33)
def test_a_row_that_somebody_else_wrote_first_is_looked_for_again(
    attempt: Attempt, engine: Engine
) -> None:
    with writing(engine) as conn:
        conn.execute(text("CREATE UNIQUE INDEX one ON made (number)"))
        conn.execute(text("INSERT INTO made VALUES (1)"))
    numbers = [2, 1]

    def write(conn: Connection) -> PruneReport:
        conn.execute(text("INSERT INTO made VALUES (:number)"), {"number": numbers.pop()})
        return report()

    assert attempt.commit(engine, write) == report()
    assert query(engine, "SELECT number FROM made ORDER BY 1") == [(1,), (2,)]
    assert len(attempt.retries) == 1


def test_what_would_fail_again_is_tried_once(attempt: Attempt, engine: Engine) -> None:
    with pytest.raises(DataError):
        attempt.commit(engine, failing(1, DataError("rows must be sorted, found chaos")))

    assert (state(engine), attempt.retries) == ("running", [])
    assert query(engine, "SELECT count(*) FROM made") == [(0,)]


def test_a_database_that_stays_away_ends_the_attempts(attempt: Attempt, engine: Engine) -> None:
    with pytest.raises(DatabaseUnavailable):
        attempt.commit(engine, failing(9, DatabaseUnavailable("it must answer, found silence")))

    assert state(engine) == "running"


def test_no_attempt_is_made_after_the_deadline(
    attempt: Attempt, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = replace(attempt, limit=Limit())
    bounded = guarded(engine, limit=limited.limit)
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=until_overdue(limited.limit)))

    with pytest.raises(StageTimedOut), limited.stage("write", timedelta(seconds=1)):
        limited.commit(bounded, failing(9, DatabaseUnavailable("it must answer")))

    assert limited.retries == ["it must answer"]


def until_overdue(limit: Limit) -> Callable[[float], None]:
    """Return a pause that lasts until the deadline has passed, however long was asked for."""

    def sleep(_: float) -> None:
        while not limit.overdue():
            time.sleep(0.01)

    return sleep


def test_a_commit_whose_answer_was_lost_is_looked_up(
    attempt: Attempt, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, calls = engine.dialect.do_commit, 0

    def lose_first_answer(connection: object) -> None:
        nonlocal calls
        calls += 1
        commit(connection)  # type: ignore[arg-type]
        if calls == 1:
            raise DatabaseUnavailable("it must answer, found the connection gone")

    monkeypatch.setattr(engine.dialect, "do_commit", lose_first_answer)

    assert attempt.commit(engine, failing(0, DataError("never"))) == report()

    assert state(engine) == "succeeded"
    assert query(engine, "SELECT count(*) FROM made") == [(1,)]


def test_a_commit_that_comes_through_while_it_is_tried_again_counts(
    attempt: Attempt, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, is_written = engine.dialect.do_commit, threading.Event()

    def come_through_late() -> None:
        with writing(engine) as conn:
            conn.execute(text("INSERT INTO made VALUES (1)"))
            runs.finish(conn, attempt.claim, now=NOW, report={})
            is_written.set()
            time.sleep(0.3)

    late = threading.Thread(target=come_through_late)

    def lose_first(connection: Any) -> None:
        monkeypatch.setattr(engine.dialect, "do_commit", commit)
        connection.rollback()
        late.start()
        is_written.wait()
        raise DatabaseUnavailable("it must answer, found the connection gone")

    monkeypatch.setattr(engine.dialect, "do_commit", lose_first)

    assert attempt.commit(engine, failing(0, DataError("never"))) == report()

    late.join()
    assert query(engine, "SELECT count(*) FROM made") == [(1,)]


def test_a_commit_that_its_deadline_cut_is_looked_up(
    attempt: Attempt, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = replace(attempt, limit=Limit())
    commit = engine.dialect.do_commit

    def commit_late(connection: Any) -> None:
        monkeypatch.setattr(engine.dialect, "do_commit", commit)
        commit(connection)
        time.sleep(0.3)
        raise DatabaseUnavailable("it must answer, found the connection gone")

    monkeypatch.setattr(engine.dialect, "do_commit", commit_late)

    with limited.stage("write", timedelta(seconds=0.3)):
        bounded = guarded(engine, limit=limited.limit)
        assert limited.commit(bounded, failing(0, DataError("never"))) == report()

    assert state(engine) == "succeeded"


def test_an_attempt_that_was_overtaken_writes_nothing(attempt: Attempt, engine: Engine) -> None:
    with writing(engine) as conn:
        runs.claim(conn, "prune", DATASET.name, NOW, NOW)

    with pytest.raises(TickTakenOver):
        attempt.commit(engine, failing(0, DataError("never")))

    with reading(engine) as conn:
        assert run_history.lookup(conn, attempt.claim.run_id).attempt == 2
    assert query(engine, "SELECT count(*) FROM made") == [(0,)]


def test_what_hangs_is_noticed_by_name() -> None:
    limit = Limit()
    with hang_detection.watching("forecast of bikes", limit), limit.stage("predict", SHORT):
        assert hang_detection.overdue(by=0) == []
        time.sleep(0.1)
        noticed = hang_detection.overdue(by=0)
        assert hang_detection.overdue() == []

    assert noticed == ["forecast of bikes is hung: 0 s past its deadline"]
    assert hang_detection.overdue(by=0) == []
