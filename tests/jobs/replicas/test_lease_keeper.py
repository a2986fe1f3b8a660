"""Replicas on one database: every dataset has one owner, and soon a new one when that is gone."""

import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, delete, text, update

from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.limits import Fence
from forecaster.store.state import leases, runs
from jobs.replicas.assignment import owner
from jobs.replicas.hooks import Hooks
from jobs.replicas.identity import new_holder
from jobs.replicas.lease_keeper import Replica
from tests.jobs.replicas.replicas import (
    DATASETS,
    TTL,
    Start,
    holder_of,
    owned,
    wait_until,
)

pytestmark = pytest.mark.quick_on("postgres")

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


def test_alone_a_replica_owns_everything_at_once(start: Start) -> None:
    replica = start()

    wait_until(lambda: owned(replica) == {*DATASETS})


def test_replicas_share_and_every_one_knows_its_share(start: Start) -> None:
    names = ["us", "them"]
    first, second = start("us"), start("them")

    wait_until(lambda: len(owned(first)) + len(owned(second)) == len(DATASETS))
    wait_until(lambda: owned(second) == {d for d in DATASETS if owner(d, names) == "them"})
    wait_until(lambda: owned(first) == {d for d in DATASETS if owner(d, names) == "us"})

    assert owned(first)
    assert owned(second)


def test_a_dataset_in_use_is_not_handed_over(start: Start) -> None:
    first = start("us")
    wait_until(lambda: owned(first) == {*DATASETS})
    not_ours = next(d for d in DATASETS if owner(d, ["us", "them"]) == "them")

    with first.using(not_ours) as fence:
        second = start("them")
        time.sleep(2 * TTL.total_seconds())
        kept = first.lease_of(not_ours), second.lease_of(not_ours)
    wait_until(lambda: second.lease_of(not_ours) is not None)

    assert fence is not None
    assert kept == (fence, None)
    assert first.lease_of(not_ours) is None


def test_a_replica_that_stops_hands_over_at_once(
    start: Start, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "forecaster")
    first = start("us")
    wait_until(lambda: owned(first) == {*DATASETS})
    second = start("them")
    wait_until(lambda: bool(owned(second)))

    first.stop()

    assert owned(first) == set()
    assert {holder_of(engine, name) for name in DATASETS} <= {leases.NOBODY, "them"}
    wait_until(lambda: owned(second) == {*DATASETS})
    assert "lost the lease" not in caplog.text
    for name in DATASETS:
        assert f"released the lease on {name} (token 1)" in caplog.text


@pytest.mark.fault(1)
def test_a_holder_that_was_killed_on_this_machine_is_succeeded_at_once(
    start: Start, engine: Engine
) -> None:
    boot, namespace, _, _, chance = new_holder().split("-")
    dead = "-".join([boot, namespace, "999999999", "1", chance])
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_dataset("bikes"), dead, timedelta(minutes=5))

    replica = start()

    wait_until(lambda: owned(replica) == {*DATASETS})
    assert has_token(replica, 2)


def test_a_holder_elsewhere_is_succeeded_when_its_lease_expires(
    start: Start, engine: Engine
) -> None:
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_dataset("bikes"), "far", TTL)

    replica = start()

    wait_until(lambda: owned(replica) == {*DATASETS})


def test_who_could_not_renew_for_all_of_the_time_does_not_trust_its_leases(
    start: Start, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "forecaster")
    told: list[tuple[str, Fence | None]] = []
    replica = start(datasets=["bikes"], hooks=Hooks(changed=lambda *news: told.append(news)))
    wait_until(lambda: replica.lease_of("bikes") is not None)
    fence = replica.lease_of("bikes")

    with writing(engine) as conn:
        conn.execute(text("ALTER TABLE leases RENAME TO elsewhere"))
    wait_until(lambda: replica.lease_of("bikes") is None)
    wait_until(lambda: ("bikes", None) in told)
    with writing(engine) as conn:
        conn.execute(text("ALTER TABLE elsewhere RENAME TO leases"))
    wait_until(lambda: replica.lease_of("bikes") == fence)
    wait_until(lambda: len(told) == 3)

    assert told == [("bikes", fence), ("bikes", None), ("bikes", fence)]
    assert "lost the lease on bikes (token 1)" in caplog.text


@pytest.mark.fault(26)
def test_a_replica_takes_its_leases_anew_when_the_table_is_gone_back(
    start: Start, engine: Engine
) -> None:
    replica = start(datasets=["bikes"])
    old = {"holder": "then", "token": 0, "expires_at": datetime(2020, 1, 1, tzinfo=UTC)}

    for token, lose in enumerate([update(tables.leases).values(old), delete(tables.leases)], 1):
        wait_until(partial(has_token, replica, token))
        with writing(engine) as conn:
            runs.claim(conn, "forecast", "bikes", NOW, NOW, token)
            conn.execute(lose)

    wait_until(partial(has_token, replica, 3))


def has_token(replica: Replica, token: int) -> bool:
    fence = replica.lease_of("bikes")
    return fence is not None and fence.token == token


def test_other_datasets_can_be_served_from_now_on(start: Start) -> None:
    replica = start(datasets=["bikes", "cars"])
    wait_until(lambda: owned(replica) == {"bikes", "cars"})

    replica.serve(["cars", "trams"])

    wait_until(lambda: owned(replica) == {"cars", "trams"})


@pytest.mark.slow
def test_a_dataset_that_another_does_not_serve_is_taken_and_kept(start: Start) -> None:
    first = start("us")
    wait_until(lambda: owned(first) == {*DATASETS})
    start("them", datasets=[])
    time.sleep(3 * TTL.total_seconds())

    wait_until(lambda: owned(first) == {*DATASETS})
    tokens = [first.lease_of(name) for name in DATASETS]
    time.sleep(TTL.total_seconds())

    assert [first.lease_of(name) for name in DATASETS] == tokens


def test_the_clock_of_the_database_is_compared_with_ours(start: Start) -> None:
    skews: list[float] = []
    start(
        hooks=Hooks(skewed=skews.append, clock=lambda: datetime.now(UTC) - timedelta(seconds=100))
    )

    wait_until(lambda: bool(skews))

    assert abs(skews[0] - 100) <= 1


def test_a_replica_that_stopped_leaves_no_member_and_no_thread(
    start: Start, engine: Engine
) -> None:
    replica = start()
    wait_until(lambda: owned(replica) == {*DATASETS})

    replica.stop()

    with reading(engine) as conn:
        left = leases.read_all(conn).leases.values()
    assert {lease.holder for lease in left} == {leases.NOBODY}
    assert "replica" not in {thread.name for thread in threading.enumerate()}
