"""Behind PgBouncer in transaction mode, where no session keeps a state."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, text, update

from forecaster.errors import DatabaseUnavailable, StageTimedOut, TickTakenOver
from forecaster.store import tables
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.limits import Fence, Limit, guarded
from forecaster.store.maintenance import migrations
from forecaster.store.state import leases
from jobs.replicas.lease_keeper import Replica
from tests.conftest import unavailable
from tests.faults.bouncer import Bouncer, find_pgbouncer
from tests.jobs.small import LAST, World, hour, land, query, rows
from tests.postgres import Cluster

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.fault(32)]

TTL = timedelta(seconds=30)


@pytest.fixture
def url(postgres: Cluster, postgres_url: str, free_port: int) -> Iterator[str]:
    """The address of an empty database behind a PgBouncer."""
    program = find_pgbouncer()
    if program is None:
        unavailable("no pgbouncer found")
    with Bouncer(program, postgres.port, port=free_port) as bouncer:
        yield postgres_url.replace(f":{postgres.port}/", f":{bouncer.port}/")


@pytest.fixture
def pooled(url: str) -> Iterator[Engine]:
    engine = open_engine(url, application_name=leases.session_name("us"))
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


def lease(engine: Engine, holder: str, ttl: timedelta = TTL) -> Fence:
    with writing(engine) as conn:
        fence = leases.acquire(conn, leases.of_dataset("bikes"), holder, ttl)
    assert fence is not None
    return fence


def test_ticks_run_side_by_side_under_a_lease_and_a_limit(pooled: Engine) -> None:
    land(pooled, rows("a", 0, LAST + 20), rows("b", 0, LAST + 20))
    world = World(engine=guarded(pooled, fence=lease(pooled, "us")))
    world.tick("retrain", hour(LAST))

    threads = [
        threading.Thread(target=partial(world.tick, job, hour(LAST + number)))
        for job, number in (("forecast", 1), ("score", 2), ("reconcile", 3), ("prune", 4))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [outcome.error for outcome in world.outcomes] == [None] * 5
    assert query(pooled, "SELECT DISTINCT state, token FROM runs") == [("succeeded", 1)]


def test_who_lost_the_lease_writes_nothing(pooled: Engine) -> None:
    lost = lease(pooled, "us", timedelta(0))
    lease(pooled, "them")

    with pytest.raises(TickTakenOver), writing(guarded(pooled, fence=lost)):
        pass


def test_a_limit_ends_with_its_transaction(pooled: Engine) -> None:
    limit = Limit()

    with (
        pytest.raises(StageTimedOut),
        limit.stage("read", timedelta(seconds=0.2)),
        reading(guarded(pooled, limit=limit)) as conn,
    ):
        conn.execute(text("SELECT pg_sleep(10)"))

    with reading(pooled) as first, reading(pooled) as second:
        for conn in (first, second):
            assert conn.scalar(text("SHOW statement_timeout")) == "0"


def test_a_former_holder_is_never_gone_by_its_sessions_yet_they_are_ended(
    pooled: Engine, url: str
) -> None:
    theirs = open_engine(url, application_name=leases.session_name("them"))

    found: list[object] = []

    def be_ended() -> None:
        with writing(theirs) as conn:
            conn.execute(text("SELECT 1"))
            with writing(pooled) as ours:
                found.append(leases.disconnected_holders(ours, ["them", "nobody"]))
                found.append(leases.end_sessions(ours, "them"))

    with pytest.raises(DatabaseUnavailable):
        be_ended()
    with reading(theirs) as conn:
        assert conn.scalar(text("SELECT 1")) == 1

    theirs.dispose()
    assert found == [set(), 1]


def test_a_living_holder_that_is_late_keeps_its_lease_until_it_ends(
    pooled: Engine, url: str
) -> None:
    """Its sessions serve others meanwhile, so that none on the server bears its name."""
    name, holder = leases.of_dataset("bikes"), "elsewhere"
    theirs = open_engine(url, application_name=leases.session_name(holder))
    lease(theirs, holder, timedelta(seconds=600))  # late for a replica whose leases live 30 min
    ours = open_engine(url, application_name=leases.session_name("us"))
    other = Replica(ours, ["bikes"], holder="us", ttl=timedelta(minutes=30))
    with reading(ours) as first, reading(ours) as second:  # all sessions of the pooler
        for conn in (first, second):
            conn.execute(text("SELECT 1"))

    other._poll()
    before = leases_of(pooled, name)
    with writing(pooled) as conn:
        conn.execute(update(tables.leases).values(expires_at=datetime(2000, 1, 1, tzinfo=UTC)))
    other._poll()
    after = leases_of(pooled, name)

    theirs.dispose()
    ours.dispose()
    assert (before, after) == (holder, "us")


def leases_of(engine: Engine, name: str) -> str:
    with reading(engine) as conn:
        found = leases.find(conn, name)
    assert found is not None
    return found.holder
