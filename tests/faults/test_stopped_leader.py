"""A leader that stands still (SIGSTOP) is succeeded, and can write nothing when it goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.limits import guarded
from forecaster.store.state import leases
from jobs.replicas.identity import new_holder
from jobs.replicas.lease_keeper import Replica
from tests.faults.ticker import PULLED
from tests.jobs.small import HORIZON, World, hour, query, rows
from tests.patience import PATIENCE, eventually

FIRST = 400
SERIES = ("a", "b")
TTL = 2.0
pytestmark = pytest.mark.slow

SOURCE = "INSERT INTO source VALUES (:series_id, :timestamp, :value)"


@pytest.fixture
def world(engine: Engine) -> World:
    """A source with a tick to come, and a champion trained on what came before."""
    frame = pl.concat([rows(series_id, 0, FIRST + 1) for series_id in SERIES])
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE source (series_id TEXT, timestamp TEXT, value REAL)"))
        stamps = frame.with_columns(pl.col("timestamp").dt.to_string("%Y-%m-%d %H:%M:%S"))
        conn.execute(text(SOURCE), stamps.to_dicts())
    world = World(engine=engine, dataset=PULLED)
    assert world.tick("retrain", hour(FIRST)).result == "succeeded"
    return world


@pytest.fixture
def successor(database_url: str) -> Iterator[Replica]:
    """Another replica, in this process, yet to be started."""
    holder = new_holder()
    engine = open_engine(database_url, application_name=leases.session_name(holder))
    replica = Replica(engine, [PULLED.name], holder=holder, ttl=timedelta(seconds=TTL))
    yield replica
    replica.stop()
    engine.dispose()


class Leader:
    """A replica of its own process that leads, and stops itself at a point of its tick."""

    def __init__(self, url: str, point: str, ttl: float) -> None:
        words = [sys.executable, "-m", "tests.faults.leader", url, str(FIRST + 1), str(ttl), point]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._line() == "leads"
        assert self._line() == "stops"

    def go_on(self) -> str:
        """Return what became of the tick."""
        self._process.send_signal(signal.SIGCONT)
        said = self._line()
        self._process.wait(60)
        return said

    def kill(self) -> None:
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


Lead = Callable[..., Leader]


@pytest.fixture
def lead(world: World, database_url: str) -> Iterator[Lead]:
    """Start a leader that stops at a point; all are killed in the end."""
    leaders: list[Leader] = []

    def start(point: str, ttl: float = TTL) -> Leader:
        leaders.append(Leader(database_url, point, ttl))
        return leaders[-1]

    yield start
    for leader in leaders:
        leader.kill()


def take_over(successor: Replica) -> None:
    """Return as soon as the successor leads."""
    successor.start()
    assert eventually(lambda: successor.lease_of(PULLED.name) is not None)


def tick(world: World, successor: Replica) -> str:
    fence = successor.lease_of(PULLED.name)
    under = World(engine=guarded(world.engine, fence=fence), dataset=PULLED)
    return under.tick("forecast", hour(FIRST + 1)).result


def require_one_whole_tick(engine: Engine) -> None:
    found = {
        table: query(engine, f"SELECT cutoff, count(*) FROM {table} GROUP BY cutoff")
        for table in ("forecast_steps", "attention", "attention_patches")
    }
    assert query(engine, "SELECT state FROM runs WHERE job = 'forecast'") == [("succeeded",)]
    assert [len(rows) for rows in found.values()] == [1, 1, 1]
    assert found["forecast_steps"][0][1] == len(SERIES) * HORIZON


def observed(engine: Engine) -> int:
    with reading(engine) as conn:
        return int(conn.execute(text("SELECT count(*) FROM observations")).scalar_one())


@pytest.mark.fault(25)
def test_a_leader_that_stood_still_lands_nothing_when_it_goes_on(
    world: World, successor: Replica, lead: Lead
) -> None:
    leader, known = lead("pull:before"), observed(world.engine)

    take_over(successor)
    said = leader.go_on()

    assert said.startswith("already_done: lost lease dataset/bikes (token 1): taken over")
    assert observed(world.engine) == known


@pytest.mark.fault(25)
def test_a_leader_that_stood_still_writes_no_tick_when_it_goes_on(
    world: World, successor: Replica, lead: Lead
) -> None:
    leader = lead("read:before")

    take_over(successor)
    result = tick(world, successor)
    said = leader.go_on()

    assert result == "succeeded"
    assert said.startswith(("already_done", "failed"))  # failed: its session was ended
    require_one_whole_tick(world.engine)


@pytest.mark.fault(25)
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("point", ["claim:after", "ingest:after", "copy:before", "watermark:after"])
def test_on_postgresql_it_cannot_keep_the_locks_of_a_transaction_either(
    world: World, successor: Replica, lead: Lead, point: str
) -> None:
    leader = lead(point)

    take_over(successor)
    result = tick(world, successor)
    said = leader.go_on()

    assert result == "succeeded"
    assert said.startswith(("already_done", "failed"))  # failed: its session was ended
    require_one_whole_tick(world.engine)


@pytest.mark.fault(25, 36)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_it_keeps_the_file_locked_and_ends_its_transaction_first(
    world: World, successor: Replica, lead: Lead
) -> None:
    leader = lead("watermark:after")
    successor.start()
    time.sleep(2 * TTL)
    led_meanwhile = successor.lease_of(PULLED.name)

    said = leader.go_on()

    assert led_meanwhile is None
    assert said.startswith("succeeded")
    require_one_whole_tick(world.engine)


@pytest.mark.fault(1, 25)
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_leader_that_was_killed_is_succeeded_at_once(
    world: World, successor: Replica, lead: Lead
) -> None:
    leader = lead("copy:before", 10 * PATIENCE)  # for so long its lease would last
    leader.kill()

    take_over(successor)
    assert tick(world, successor) == "succeeded"
    require_one_whole_tick(world.engine)
