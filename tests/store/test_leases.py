"""Leases: one holder at a time, and tokens that never repeat."""

import time
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select, update

from forecaster.errors import TickTakenOver
from forecaster.store import tables
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.limits import Fence, guarded
from forecaster.store.state import leases, runs
from forecaster.store.state.leases import Lease
from tests.store.samples import START

TTL = timedelta(seconds=30)
NAME = leases.of_dataset("bikes")


def acquire(
    engine: Engine, holder: str, ttl: timedelta = TTL, *, over: Lease | None = None
) -> Fence | None:
    with writing(engine) as conn:
        return leases.acquire(conn, NAME, holder, ttl, over=over)


def renew(engine: Engine, holder: str) -> dict[str, int]:
    with writing(engine) as conn:
        return leases.renew(conn, holder, TTL)


def release(engine: Engine, fence: Fence | None) -> None:
    assert fence is not None
    with writing(engine) as conn:
        leases.release(conn, [fence])


def found(engine: Engine) -> Lease:
    with reading(engine) as conn:
        return leases.read_all(conn).leases[NAME]


def expire(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(update(tables.leases).values(expires_at=START))


def fence(holder: str, token: int) -> Fence:
    return Fence(name=NAME, holder=holder, token=token)


def test_a_lease_has_one_holder(engine: Engine) -> None:
    assert acquire(engine, "us") == fence("us", 1)
    assert acquire(engine, "them") is None


def test_whoever_holds_a_lease_may_take_it_again_with_the_same_token(engine: Engine) -> None:
    acquire(engine, "us")

    assert acquire(engine, "us") == fence("us", 1)


def test_a_lease_lasts_as_long_as_was_asked(engine: Engine) -> None:
    acquire(engine, "us")

    lease = found(engine)

    assert timedelta(seconds=29) < lease.left <= TTL
    assert lease.dataset == "bikes"
    assert not lease.is_member


@pytest.mark.fault(25)
def test_an_expired_lease_goes_to_another_with_a_greater_token(engine: Engine) -> None:
    acquire(engine, "us")
    expire(engine)

    assert acquire(engine, "them") == fence("them", 2)
    assert renew(engine, "us") == {}


def test_a_lease_that_was_given_back_is_free_at_once(engine: Engine) -> None:
    release(engine, acquire(engine, "us"))

    assert acquire(engine, "them") == fence("them", 2)


def test_a_lease_cannot_be_given_back_by_who_lost_it(engine: Engine) -> None:
    lost = acquire(engine, "us")
    expire(engine)
    acquire(engine, "them")

    release(engine, lost)

    assert found(engine).holder == "them"


def test_renewing_keeps_the_token_and_moves_the_end(engine: Engine) -> None:
    acquire(engine, "us")
    expire(engine)

    assert renew(engine, "us") == {NAME: 1}
    assert found(engine).left > timedelta(seconds=29)


def test_a_holder_that_is_gone_is_succeeded_before_the_end(engine: Engine) -> None:
    acquire(engine, "us")
    seen = found(engine)

    assert acquire(engine, "them", over=seen) == fence("them", 2)


def test_a_holder_that_came_back_meanwhile_is_not_succeeded(engine: Engine) -> None:
    acquire(engine, "us")
    seen = found(engine)
    time.sleep(0.002)
    renew(engine, "us")

    assert acquire(engine, "them", over=seen) is None


@pytest.mark.fault(26)
def test_a_lease_table_from_a_backup_repeats_no_token(engine: Engine) -> None:
    acquire(engine, "us")
    with writing(engine) as conn:
        backup = conn.execute(select(tables.leases)).all()
    for holder in ("them", "us", "them"):
        expire(engine)
        newest = acquire(engine, holder)
    assert newest == fence("them", 4)
    with writing(engine) as conn:
        runs.claim(conn, "forecast", "bikes", START, START, token=4)
        conn.execute(delete(tables.leases))
        conn.execute(insert(tables.leases), [dict(row._mapping) for row in backup])

    assert renew(engine, "them") == {}
    assert acquire(engine, "us") == fence("us", 5)
    with pytest.raises(TickTakenOver), writing(guarded(engine, fence=fence("them", 4))):
        pass


@pytest.mark.fault(26)
def test_a_lease_table_that_was_emptied_repeats_no_token(engine: Engine) -> None:
    with writing(engine) as conn:
        runs.claim(conn, "forecast", "bikes", START, START, token=4)
        runs.claim(conn, "forecast", "cars", START, START, token=9)

    assert acquire(engine, "us") == fence("us", 5)


def test_replicas_are_members_until_they_leave(engine: Engine) -> None:
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_member("us"), "us", TTL)
        leases.acquire(conn, leases.of_member("them"), "them", TTL)
        leases.delete_member(conn, "them")

        members = leases.read_all(conn).leases.values()

    assert [(lease.holder, lease.is_member, lease.dataset) for lease in members] == [
        ("us", True, None)
    ]


def test_members_that_died_are_forgotten_in_the_end(engine: Engine) -> None:
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_member("us"), "us", TTL)
        leases.acquire(conn, leases.of_member("dead"), "dead", -timedelta(hours=2))
        leases.acquire(conn, NAME, "dead", -timedelta(hours=2))

        leases.delete_gone_members(conn, timedelta(hours=1))

        assert leases.read_all(conn).leases.keys() == {NAME, leases.of_member("us")}


def test_sessions_of_a_former_holder_are_found_and_ended(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    name = leases.session_name("them")
    theirs = psycopg.connect(postgres_url, application_name=name, autocommit=True)

    with writing(engine) as conn:
        without = leases.disconnected_holders(conn, ["us", "them"])
        ended = leases.end_sessions(conn, "them")

    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        theirs.execute("SELECT 1")
    engine.dispose()
    assert (without, ended) == ({"us"}, 1)


def test_on_sqlite_nobody_can_tell_who_is_connected(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)

    with writing(engine) as conn:
        assert leases.disconnected_holders(conn, ["us", "them"]) == set()
        assert leases.end_sessions(conn, "them") == 0
    engine.dispose()


HOLDERS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "succeed", "renew", "release", "expire", "claim", "restore"]),
        HOLDERS,
    ),
    max_size=30,
)


@pytest.mark.fault(25, 26)
@given(steps=STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_tokens_never_repeat_or_fall_and_one_holder_is_valid(
    engine: Engine, steps: list[tuple[str, str]]
) -> None:
    with writing(engine) as conn:
        conn.execute(delete(tables.leases))
        conn.execute(delete(tables.runs))
    model = Model(engine)

    for step, holder in steps:
        getattr(model, step)(holder)

        model.require_one_valid_holder()


class Model:
    """Holders that believe what they were told last, and what must hold whatever they do."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.believed: dict[str, Fence] = {}
        self.granted: dict[int, str] = {}
        self.backup: list[dict[str, object]] = []

    def acquire(self, holder: str, over: Lease | None = None) -> None:
        if got := acquire(self.engine, holder, over=over):
            new = got != self.believed.get(holder)
            assert self.granted.setdefault(got.token, holder) == holder
            assert not new or got.token >= max(self.granted)
            self.believed[holder] = got
            self.claim(holder)

    def succeed(self, holder: str) -> None:
        with reading(self.engine) as conn:
            seen = leases.read_all(conn).leases.get(NAME)
        self.acquire(holder, over=seen)

    def renew(self, holder: str) -> None:
        renewed = renew(self.engine, holder)
        assert renewed == {} or NAME in renewed

    def release(self, holder: str) -> None:
        if holder in self.believed:
            release(self.engine, self.believed[holder])

    def expire(self, _: str) -> None:
        expire(self.engine)

    def claim(self, holder: str) -> None:
        if self.is_valid(holder):
            with writing(self.engine) as conn:
                runs.claim(
                    conn, "forecast", "bikes", START, START, token=self.believed[holder].token
                )
                self.backup = self.backup or self.rows()

    def restore(self, _: str) -> None:
        with writing(self.engine) as conn:
            conn.execute(delete(tables.leases))
            if self.backup:
                conn.execute(insert(tables.leases), self.backup)

    def rows(self) -> list[dict[str, object]]:
        with reading(self.engine) as conn:
            return [dict(row._mapping) for row in conn.execute(select(tables.leases))]

    def is_valid(self, holder: str) -> bool:
        """Whether the holder can write under the lease that it believes to have."""
        if holder not in self.believed:
            return False
        try:
            with writing(guarded(self.engine, fence=self.believed[holder])):
                return True
        except TickTakenOver:
            return False

    def require_one_valid_holder(self) -> None:
        assert sum(self.is_valid(holder) for holder in self.believed) <= 1
