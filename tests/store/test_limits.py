"""Limits and fences: what takes too long is cut, and who lost the lease writes nothing."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, insert, select, text, update

from forecaster.errors import DatabaseUnavailable, StageTimedOut, TickTakenOver
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.limits import Fence, Limit, guarded
from forecaster.store.state import run_history, runs
from forecaster.store.tables import datasets, leases
from tests.patience import not_hanging
from tests.store.samples import HOUR, START

FENCE = Fence(name="dataset/bikes", holder="us", token=7)
SHORT = timedelta(seconds=0.3)
SLOW_SQLITE = """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e9)
SELECT count(*) FROM n"""


@pytest.fixture
def fenced(engine: Engine) -> Engine:
    """An engine for whoever holds the lease of bikes."""
    with writing(engine) as conn:
        conn.execute(insert(leases).values(name=FENCE.name, holder="us", token=7, expires_at=START))
    return guarded(engine, fence=FENCE)


def succeed(engine: Engine, *, holder: str, token: int) -> None:
    with writing(engine) as conn:
        conn.execute(update(leases).values(holder=holder, token=token))


def add(engine: Engine, name: str = "bikes") -> None:
    with writing(engine) as conn:
        conn.execute(insert(datasets).values(name=name))


def names(engine: Engine) -> list[str]:
    with reading(engine) as conn:
        return list(conn.scalars(select(datasets.c.name)))


def sleep(engine: Engine, how: Callable[[Engine], object] = reading) -> None:
    """Ask the database for something that takes longer than any test."""
    statement = "SELECT pg_sleep(600)" if engine.dialect.name == "postgresql" else SLOW_SQLITE
    with how(engine) as conn:  # type: ignore[attr-defined]  # reading or writing
        conn.execute(text(statement))


def test_who_holds_the_lease_writes(fenced: Engine) -> None:
    add(fenced)

    assert names(fenced) == ["bikes"]


@pytest.mark.fault(25)
@pytest.mark.parametrize(("holder", "token"), [("them", 8), ("us", 8), ("them", 7)])
def test_who_lost_the_lease_writes_nothing(fenced: Engine, holder: str, token: int) -> None:
    succeed(fenced.execution_options(forecaster_fence=None), holder=holder, token=token)

    with pytest.raises(TickTakenOver, match=r"lost lease .* \(token 7\)"):
        add(fenced)

    assert names(fenced) == []


def test_who_lost_the_lease_may_still_read(fenced: Engine) -> None:
    succeed(fenced.execution_options(forecaster_fence=None), holder="them", token=8)

    assert names(fenced) == []


@pytest.mark.postgres
def test_a_lease_that_a_transaction_stands_on_is_renewed_but_not_taken(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with writing(engine) as conn:
        conn.exec_driver_sql(
            "CREATE TABLE leases (name text PRIMARY KEY, holder text, token bigint,"
            " expires_at timestamptz, UNIQUE (name, token))"
        )
        conn.execute(insert(leases).values(name=FENCE.name, holder="us", token=7, expires_at=START))

    with writing(guarded(engine, fence=FENCE)), writing(engine) as other:
        other.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        other.execute(update(leases).values(expires_at=START + HOUR))
        with pytest.raises(DatabaseUnavailable, match="database is locked"):
            other.execute(update(leases).values(token=8))
    engine.dispose()


def test_of_nested_limits_the_nearest_counts() -> None:
    limit = Limit()
    before = limit.remaining()
    with limit.stage("write", timedelta(seconds=10)), limit.within(100):
        outer = limit.remaining()
        with limit.within(1):
            inner = limit.remaining()

    assert before == limit.remaining() == float("inf")
    assert 9 < outer <= 10
    assert 0 < inner <= 1


def test_a_stage_that_is_over_says_which_and_what_to_set() -> None:
    limit = Limit(dataset="bikes")

    with (
        pytest.raises(StageTimedOut, match=r'stage "write" timed out after 0 s') as caught,
        limit.stage("write", timedelta(0)),
    ):
        limit.check()

    assert caught.value.hint == (
        "check what it waits for, or raise the limit in [datasets.bikes.deadlines]"
    )


def test_another_thread_sees_how_long_a_stage_is_overdue() -> None:
    limit, seen = Limit(), []

    with limit.stage("train", timedelta(0)):
        time.sleep(0.01)
        asking = threading.Thread(target=lambda: seen.append(limit.overdue()))
        asking.start()
        asking.join()

    assert seen[0] >= 0.01
    assert limit.overdue() == 0


@pytest.mark.fault(7)
@pytest.mark.parametrize("how", [reading, writing])
def test_a_statement_that_hangs_is_cut(engine: Engine, how: Callable[[Engine], object]) -> None:
    limit = Limit()

    with (
        not_hanging(least=0.3),
        pytest.raises(StageTimedOut, match=r'stage "read" timed out after 0\.3 s'),
        limit.stage("read", SHORT),
    ):
        sleep(guarded(engine, limit=limit), how)

    assert names(engine) == []


def test_a_transaction_that_starts_too_late_does_not_start(engine: Engine) -> None:
    limit = Limit()

    with pytest.raises(StageTimedOut), limit.stage("write", timedelta(0)):
        add(guarded(engine, limit=limit))

    assert names(engine) == []


@pytest.mark.fault(7)
@pytest.mark.slow
def test_a_limit_that_comes_within_a_transaction_counts(engine: Engine) -> None:
    limit = Limit()
    statement = "SELECT pg_sleep(600)" if engine.dialect.name == "postgresql" else SLOW_SQLITE

    with (
        not_hanging(least=0.3),
        pytest.raises(StageTimedOut),
        limit.stage("write", timedelta(minutes=1)),
        writing(guarded(engine, limit=limit)) as conn,
        limit.within(0.3),
    ):
        conn.execute(text(statement))

    assert names(engine) == []


@pytest.mark.fault(6)
def test_a_lock_is_waited_for_no_longer_than_the_stage(engine: Engine, database_url: str) -> None:
    other, limit = open_engine(database_url), Limit()
    add(engine)

    with writing(other) as holder:
        holder.execute(update(datasets).values(name="cars"))
        with (
            not_hanging(least=0.2),
            pytest.raises(StageTimedOut),
            limit.stage("write", SHORT),
            writing(guarded(engine, limit=limit)) as conn,
        ):
            conn.execute(update(datasets).values(name="trams"))

    assert names(engine) == ["cars"]
    other.dispose()


def test_without_a_limit_locks_are_waited_for_as_before(sqlite_url: str) -> None:
    engine, limit = open_engine(sqlite_url), Limit()
    with limit.stage("read", SHORT), reading(guarded(engine, limit=limit)) as conn:
        during = conn.scalar(text("PRAGMA busy_timeout"))

    with reading(engine) as conn:
        assert conn.scalar(text("PRAGMA busy_timeout")) == 30_000
    assert during <= 300
    engine.dispose()


def test_a_run_under_a_lease_keeps_its_token_and_how_far_it_is(engine: Engine) -> None:
    with writing(engine) as conn:
        first = runs.claim(conn, "retrain", "bikes", START, START, token=7)
        runs.note_progress(conn, first, 0.5)
        half = run_history.lookup(conn, first.run_id)
        second = runs.claim(conn, "retrain", "bikes", START, START, token=8)
        runs.note_progress(conn, first, 0.75)
        anew = run_history.lookup(conn, second.run_id)

    assert (half.token, half.progress) == (7, 0.5)
    assert (anew.token, anew.progress) == (8, None)


def test_a_run_can_be_looked_up_after_a_commit_of_unknown_end(engine: Engine) -> None:
    with writing(engine) as conn:
        claimed = runs.claim(conn, "forecast", "bikes", START, START)
        runs.finish(conn, claimed, now=START, report={})

    with reading(engine) as conn:
        found = run_history.lookup(conn, claimed.run_id)

    assert (found.state, found.attempt) == ("succeeded", claimed.attempt)
