"""What goes wrong around one lease stops no other, and ends nothing that lives."""

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.limits import Fence
from forecaster.store.state import leases
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
        replica._acquire("bikes", seen)
        alive = conn.scalar(text("SELECT 1"))
    own.dispose()

    assert alive == 1
    assert replica.lease_of("bikes") is None
    assert holder_of(engine, "bikes") == late
