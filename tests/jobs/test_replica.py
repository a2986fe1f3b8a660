"""Replicas on one database: every dataset has one owner, and soon a new one when that is gone."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

import pytest
from sqlalchemy import Engine, delete, text, update

from forecaster.store import leases, runs, tables
from forecaster.store.engine import open_engine, reading, writing
from forecaster.store.guards import Fence
from jobs.holders import new_holder
from jobs.replica import Hooks, Replica
from jobs.sharing import owner

TTL = timedelta(seconds=0.9)
DATASETS = ("bikes", "cars", "trams", "boats")
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


class Start(Protocol):
    def __call__(
        self, holder: str = ..., datasets: Sequence[str] = ..., hooks: Hooks | None = ...
    ) -> Replica: ...


@pytest.fixture
def start(engine: Engine, database_url: str) -> Iterator[Start]:
    """Start a replica on an engine of its own; all are stopped in the end."""
    started: list[tuple[Replica, Engine]] = []

    def begin(
        holder: str = "", datasets: Sequence[str] = DATASETS, hooks: Hooks | None = None
    ) -> Replica:
        holder = holder or new_holder()
        own = open_engine(database_url, application_name=leases.session_name(holder))
        replica = Replica(own, datasets, holder=holder, ttl=TTL, hooks=hooks)
        started.append((replica, own))
        replica.start()
        return replica

    yield begin
    for replica, own in started:
        replica.stop()
        own.dispose()


def owned(replica: Replica, datasets: Sequence[str] = DATASETS) -> set[str]:
    return {name for name in datasets if replica.lease_of(name) is not None}


def wait_until(holds: Callable[[], bool], *, within: float = 6.0) -> float:
    """Return how many seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - began


def test_alone_a_replica_owns_everything_at_once(start: Start) -> None:
    replica = start()

    assert wait_until(lambda: owned(replica) == {*DATASETS}) < 2


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


def test_a_replica_that_stops_hands_over_at_once(start: Start) -> None:
    first = start("us")
    wait_until(lambda: owned(first) == {*DATASETS})
    second = start("them")
    wait_until(lambda: bool(owned(second)))

    first.stop()

    assert owned(first) == set()
    assert wait_until(lambda: owned(second) == {*DATASETS}) < 1


@pytest.mark.fault(1)
def test_a_holder_that_was_killed_on_this_machine_is_succeeded_at_once(
    start: Start, engine: Engine
) -> None:
    boot, namespace, _, _, chance = new_holder().split("-")
    dead = "-".join([boot, namespace, "999999999", "1", chance])
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_dataset("bikes"), dead, timedelta(minutes=5))

    replica = start()

    assert wait_until(lambda: owned(replica) == {*DATASETS}) < 2
    assert has_token(replica, 2)


def test_a_holder_elsewhere_is_succeeded_when_its_lease_expires(
    start: Start, engine: Engine
) -> None:
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_dataset("bikes"), "far", TTL)

    replica = start()

    waited = wait_until(lambda: owned(replica) == {*DATASETS})
    assert waited < 2 * TTL.total_seconds()


def test_who_could_not_renew_for_all_of_the_time_does_not_trust_its_leases(
    start: Start, engine: Engine
) -> None:
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


def test_whoever_is_told_and_breaks_does_not_end_the_replica(start: Start) -> None:
    told: list[str] = []

    def breaks(dataset: str, fence: Fence | None) -> None:
        told.append(dataset)
        raise KeyError("no alarm by the name of bikes")

    def breaks_too(seconds: float) -> None:
        raise ValueError("nobody wants to know")

    replica = start(hooks=Hooks(changed=breaks, skewed=breaks_too))
    wait_until(lambda: owned(replica) == {*DATASETS})
    wait_until(lambda: {*told} == {*DATASETS})
    time.sleep(1.5 * TTL.total_seconds())

    assert owned(replica) == {*DATASETS}


def test_how_long_the_leases_were_not_looked_after_is_known(start: Start, engine: Engine) -> None:
    idle = Replica(engine, DATASETS, holder="idle", ttl=TTL)
    go_on = threading.Event()

    def waits(dataset: str, fence: Fence | None) -> None:
        go_on.wait(10)

    replica = start(datasets=["bikes"], hooks=Hooks(changed=waits))

    wait_until(lambda: replica.silent_for() > 1)
    go_on.set()

    wait_until(lambda: replica.silent_for() < 0.5)
    assert idle.silent_for() == 0


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_lease_that_cannot_be_had_keeps_no_other_from_being_taken(
    start: Start, engine: Engine
) -> None:
    with writing(engine) as conn:
        for name in DATASETS:
            leases.acquire(conn, leases.of_dataset(name), "dead", timedelta(seconds=0.01))
    held = text("SELECT 1 FROM leases WHERE name = 'dataset/bikes' FOR KEY SHARE")

    with writing(engine) as conn:
        conn.execute(held)
        replica = start()
        wait_until(lambda: owned(replica) == {"cars", "trams", "boats"})
        assert replica.lease_of("bikes") is None

    wait_until(lambda: owned(replica) == {*DATASETS})


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_what_could_not_be_given_back_is_given_back_later(start: Start, engine: Engine) -> None:
    replica = start(datasets=["bikes", "cars"])
    wait_until(lambda: owned(replica) == {"bikes", "cars"})

    with writing(engine) as conn:
        conn.execute(text("SELECT 1 FROM leases WHERE name = 'dataset/bikes' FOR UPDATE"))
        replica.serve(["cars"])
        wait_until(lambda: replica.lease_of("bikes") is None)
        time.sleep(TTL.total_seconds() / 3)
    wait_until(lambda: holder_of(engine, "bikes") == leases.NOBODY)


def holder_of(engine: Engine, dataset: str) -> str | None:
    with reading(engine) as conn:
        found = leases.find(conn, leases.of_dataset(dataset))
    return None if found is None else found.holder


@pytest.mark.fault(25)
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_holder_that_renewed_late_keeps_its_sessions(engine: Engine, database_url: str) -> None:
    late, name = new_holder(), leases.of_dataset("bikes")
    own = open_engine(database_url, application_name=leases.session_name(late))
    with writing(own) as conn:
        leases.acquire(conn, name, late, timedelta(0))
    with reading(engine) as conn:
        seen = leases.find(conn, name)
    with writing(own) as conn:
        leases.renew(conn, late, TTL)
    replica = Replica(engine, ["bikes"], holder="other", ttl=TTL)

    with writing(own) as conn:
        replica._take("bikes", seen)
        alive = conn.scalar(text("SELECT 1"))
    own.dispose()

    assert alive == 1
    assert replica.lease_of("bikes") is None
    assert holder_of(engine, "bikes") == late


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

    assert skews[0] == pytest.approx(100, abs=1)


def test_a_replica_that_stopped_leaves_no_member_and_no_thread(
    start: Start, engine: Engine
) -> None:
    replica = start()
    wait_until(lambda: owned(replica) == {*DATASETS})

    replica.stop()

    with reading(engine) as conn:
        left = leases.survey(conn).found.values()
    assert {lease.holder for lease in left} == {leases.NOBODY}
    assert "replica" not in {thread.name for thread in threading.enumerate()}
