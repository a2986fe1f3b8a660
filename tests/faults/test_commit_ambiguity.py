"""A connection that breaks between a COMMIT and its answer leaves each tick written once."""

from collections.abc import Callable, Iterator
from datetime import datetime
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from forecaster.store.connection.engine import open_engine
from tests.faults.proxy import Proxy
from tests.jobs.small import HORIZON, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.fault(3)

FIRST = LAST + 1


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(urlsplit(postgres_url).port or 0) as proxy:
        yield proxy


@pytest.fixture
def world(postgres_url: str, proxy: Proxy, migrate: Callable[[str], None]) -> Iterator[World]:
    """A world behind the proxy, with a model and something new to forecast from."""
    migrate(postgres_url)
    port = str(urlsplit(postgres_url).port)
    engine = open_engine(postgres_url.replace(port, str(proxy.port)))
    land(engine, rows("a", 0, LAST + 20), rows("b/c", 0, LAST + 20))
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    yield world
    engine.dispose()


def commits_of(world: World, proxy: Proxy, job: str, tick: datetime) -> int:
    """Run a job, and return how many COMMITs it took."""
    before = proxy.commits
    assert world.tick(job, tick).result == "succeeded"
    return proxy.commits - before


def count(engine: Engine, table: str) -> int:
    (found,) = query(engine, f"SELECT count(*) FROM {table}")[0]
    assert isinstance(found, int)
    return found


def test_a_tick_whose_last_answer_was_lost_has_succeeded_once_with_its_report(
    world: World, proxy: Proxy
) -> None:
    world.tick("forecast", hour(FIRST))
    commits = commits_of(world, proxy, "forecast", hour(FIRST + 1))
    proxy.cut_at_commit = proxy.commits + commits

    outcome = world.tick("forecast", hour(FIRST + 2))

    assert proxy.commits >= proxy.cut_at_commit
    assert (outcome.result, outcome.retries) == ("succeeded", 1)
    assert (
        query(
            world.engine,
            "SELECT state, attempt, report IS NOT NULL, error FROM runs WHERE job = 'forecast'",
        )
        == [("succeeded", 1, True, None)] * 3
    )
    assert count(world.engine, "forecast_steps") == 3 * 2 * HORIZON


@pytest.mark.parametrize("job", ["forecast", "retrain", "score", "prune"])
def test_whichever_answer_is_lost_a_tick_is_written_once(
    world: World, proxy: Proxy, job: str
) -> None:
    world.tick("forecast", hour(FIRST))
    world.tick(job, hour(FIRST + 1))
    commits = commits_of(world, proxy, job, hour(FIRST + 2))
    before = {table: count(world.engine, table) for table in ("models", "forecast_steps")}

    for number in range(commits):
        tick = hour(FIRST + 3 + number)
        proxy.cut_at_commit = proxy.commits + number + 1
        first = world.tick(job, tick)
        second = world.tick(job, tick)
        results = [first.result, second.result]
        assert results in (["succeeded", "already_done"], ["failed", "succeeded"]), number

    written = {table: count(world.engine, table) - before[table] for table in before}
    assert written["models"] == (job == "retrain") * commits
    assert written["forecast_steps"] == (job == "forecast") * commits * 2 * HORIZON
    assert query(world.engine, f"SELECT DISTINCT state FROM runs WHERE job = '{job}'") == [
        ("succeeded",)
    ]
