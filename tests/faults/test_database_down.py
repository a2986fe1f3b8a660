"""PostgreSQL that crashes, restarts or stays away: nothing is lost, doubled or half-written."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine

from forecaster.store.connection.engine import open_engine
from forecaster.store.forecasts import forecasts
from forecaster.store.maintenance import migrations
from forecaster.store.observations import observations
from forecaster.store.state import models, runs
from tests.conftest import unavailable
from tests.jobs.service.serving import Running
from tests.jobs.small import HORIZON, LAST, World, hour, land, query, rows
from tests.jobs.terminal.terminal import configure, trips, type_
from tests.postgres import Cluster, find_binaries

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

NEXT = hour(LAST + 1)
DOWN_SECONDS = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of our own, which keeps what was committed when it crashes."""
    binaries = find_binaries()
    if binaries is None:
        unavailable("no PostgreSQL server binaries found")
    cluster = Cluster(binaries, durable=True)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def url(cluster: Cluster) -> str:
    if not cluster.is_running:
        cluster.start()
    return cluster.create_database(f"down_{uuid.uuid4().hex}")


@pytest.fixture
def crashing(url: str) -> Iterator[World]:
    """A trained world on the server."""
    engine = open_engine(url)
    migrations.upgrade(engine)
    land(engine, rows("a", 0, LAST), rows("b/c", 0, LAST))
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    yield world
    engine.dispose()


def crash_after(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster, module: ModuleType, name: str
) -> list[str]:
    """Crash the server and start it again the first time that a function has returned."""
    real: Callable[..., Any] = getattr(module, name)
    crashes: list[str] = []

    def crashing(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        if not crashes:
            crashes.append(name)
            cluster.stop("immediate")
            cluster.start()
        return result

    monkeypatch.setattr(module, name, crashing)
    return crashes


def succeeded(engine: Engine, job: str) -> object:
    statement = f"SELECT count(*) FROM runs WHERE job = '{job}' AND state = 'succeeded'"
    return query(engine, statement)[0][0]


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("job", "module", "name"),
    [
        ("forecast", forecasts, "write_blocks"),
        ("forecast", runs, "finish"),
        ("retrain", models, "promote"),
    ],
)
def test_a_crash_amid_the_last_transaction_costs_a_second_try(
    crashing: World,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    module: ModuleType,
    name: str,
) -> None:
    before = query(crashing.engine, "SELECT count(*) FROM models")[0][0]
    crashes = crash_after(monkeypatch, cluster, module, name)

    outcome = crashing.tick(job, NEXT)

    assert crashes == [name]
    assert (outcome.result, outcome.retries >= 1) == ("succeeded", True)
    written = query(crashing.engine, "SELECT count(*) FROM forecast_steps")[0][0]
    assert written == (job == "forecast") * 2 * HORIZON
    models_now = query(crashing.engine, "SELECT count(*) FROM models")[0][0]
    assert isinstance(before, int)
    assert models_now == before + (job == "retrain")


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("module", "name"),
    [(runs, "claim"), (observations, "read_cells"), (models, "champion_and_fallbacks")],
)
def test_a_crash_before_it_fails_the_attempt_and_the_next_one_succeeds(
    crashing: World,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
) -> None:
    crashes = crash_after(monkeypatch, cluster, module, name)

    first, second = crashing.tick("forecast", NEXT), crashing.tick("forecast", NEXT)

    assert crashes == [name]
    assert (first.result, second.result) == ("failed", "succeeded")
    assert "does not answer" in str(first.error)
    assert succeeded(crashing.engine, "forecast") == 1
    assert query(crashing.engine, "SELECT count(*) FROM forecast_steps") == [(2 * HORIZON,)]


@pytest.mark.fault(30)
def test_a_database_that_stays_away_is_waited_for_and_its_ticks_are_caught_up(
    cluster: Cluster, url: str, folder: Path, free_port: int, serve: Callable[[], Running]
) -> None:
    config = configure(folder, 'forecast_every = "1s"\n')
    lines = config.read_text().splitlines()[1:]
    head = [f'database_url = "{url}"', f'server.listen = "127.0.0.1:{free_port}"']
    config.write_text("\n".join([*head, 'lease_ttl = "2s"', *lines]))
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
    service, engine = serve(), open_engine(url)
    assert service.becomes(lambda: service.get("/readyz")[0] == 200), service.log()
    assert service.becomes(lambda: succeeded(engine, "forecast") != 0), service.log()

    cluster.stop("fast")
    assert service.becomes(lambda: service.get("/readyz")[0] == 503), service.log()
    time.sleep(DOWN_SECONDS)
    alive, (_, told) = service.get("/livez")[0], service.get("/readyz")
    cluster.start()
    back = query_now(engine)
    assert service.becomes(lambda: caught_up(engine, back)), service.log()

    assert alive == 200
    reason = json.loads(told)["reasons"][0]
    assert "does not answer" in reason or "no response" in reason
    states = f"SELECT DISTINCT state FROM runs WHERE job = 'forecast' AND tick <= '{back}'"
    assert query(engine, states) == [("succeeded",)]
    assert service.stop() == 0
    engine.dispose()


def query_now(engine: Engine) -> object:
    return query(engine, "SELECT clock_timestamp()")[0][0]


def caught_up(engine: Engine, until: object) -> bool:
    """Tell whether every second from the first tick to `until` has a run that succeeded."""
    statement = (
        "SELECT extract(epoch FROM max(tick) - min(tick)) + 1 = count(*) AND max(tick) >= "
        f"'{until}' FROM runs WHERE job = 'forecast' AND state = 'succeeded'"
    )
    return bool(query(engine, statement)[0][0])
