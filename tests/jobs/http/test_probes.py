"""What /livez, /readyz and /datasets answer: at once, whatever the database does."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.connection.limits import Limit
from forecaster.store.state import leases
from jobs.execution import hang_detection
from jobs.http import probes
from jobs.http.probes import CachedAnswer, Probes
from jobs.telemetry import record
from jobs.telemetry.metrics import Telemetry
from tests.faults.proxy import Proxy
from tests.jobs.small import DATASET, LAST, World, fixed, hour
from tests.patience import PATIENCE, eventually, not_hanging

DATASETS = {"bikes": DATASET}


def probes_of(engine: Engine) -> Probes:
    return Probes(engine, DATASETS, clock=fixed(hour(LAST)))


def test_a_silent_scheduler_is_dead() -> None:
    assert probes.live({"scheduler": lambda: 29.0, "keeper": lambda: 0.0}) == []
    assert probes.live({"scheduler": lambda: 31.0}) == ["scheduler: no heartbeat for 31 s"]


def test_a_stage_far_over_its_deadline_is_dead() -> None:
    limit = Limit()
    with hang_detection.watching("forecast of bikes", limit):
        with limit.stage("predict", timedelta(seconds=-29)):
            soon = probes.live({})
        with limit.stage("predict", timedelta(seconds=-31)):
            late = probes.live({})

    assert soon == []
    assert late == ["forecast of bikes is hung: 31 s past its deadline"]


def test_a_database_without_tables_is_not_ready(database_url: str) -> None:
    engine = open_engine(database_url)

    [reason] = probes_of(engine).ready()
    engine.dispose()

    assert "schema revision is" in reason


def test_a_dataset_without_a_model_is_not_ready(world: World) -> None:
    assert probes_of(world.engine).ready() == ["bikes has no model in service yet"]


def test_a_dataset_with_a_model_is_ready(trained: World) -> None:
    assert probes_of(trained.engine).ready() == []


def test_an_answer_is_remembered_for_some_seconds() -> None:
    asked: list[int] = []
    remembered = CachedAnswer(lambda: asked.append(1), fallback=None)

    for _ in range(3):
        remembered()

    assert asked == [1]


def test_nobody_waits_for_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "WITHIN", timedelta(seconds=0.2))
    go_on, asked = threading.Event(), []

    def ask() -> str:
        asked.append(1)
        go_on.wait(PATIENCE)
        return "answer"

    remembered = CachedAnswer(ask, fallback="silence")
    with not_hanging():  # if all of them waited, it would be for 100 s
        found = [remembered() for _ in range(500)]
    go_on.set()

    assert found == ["silence"] * 500
    assert asked == [1]
    assert eventually(lambda: remembered() == "answer")


@pytest.fixture
def behind(postgres_url: str, migrate: Callable[[str], None]) -> Iterator[tuple[Engine, Proxy]]:
    """A database behind a proxy that can swallow everything."""
    migrate(postgres_url)
    port = urlsplit(postgres_url).port
    assert port is not None
    with Proxy(port) as proxy:
        engine = open_engine(postgres_url.replace(f":{port}/", f":{proxy.port}/"))
        yield engine, proxy
        engine.dispose()


@pytest.mark.fault(4)
@pytest.mark.parametrize("is_connected", [True, False])
def test_behind_a_black_hole_the_answer_comes_within_a_second(
    behind: tuple[Engine, Proxy], is_connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, proxy = behind
    monkeypatch.setattr(probes, "CACHED_SECONDS", -1.0)
    asked = probes_of(engine)
    before = asked.ready() if is_connected else []
    proxy.mode = "blackhole"

    with not_hanging():  # a connection that is cut off ends after many minutes
        reasons, found = asked.ready(), asked.documents()

    assert before in ([], ["bikes has no model in service yet"])
    assert reasons == ["no response from the database within 1 s"]
    assert found is None


def test_datasets_are_told_with_their_state_and_shown_in_telemetry(trained: World) -> None:
    trained.tick("forecast", hour(LAST))
    telemetry = Telemetry(["bikes"])
    with writing(trained.engine) as conn:
        leases.acquire(conn, leases.of_member("here"), "here", timedelta(minutes=5))
    asked = probes_of(trained.engine)

    documents = asked.documents()
    record.health(telemetry, asked.healths() or ())

    assert documents == [
        {
            "name": "bikes",
            "state": "running",
            "progress": None,
            "reason": "the forecast of 2026-01-17 16:00 UTC succeeded (model 1)",
            "since": "2026-01-17T16:00:01+00:00",
            "model": 1,
            "trained_to": "2026-01-17T16:00:00+00:00",
            "newest_observation": "2026-01-17T16:00:00+00:00",
            "last_forecast": "2026-01-17T16:00:00+00:00",
        }
    ]
    shown = {
        state: telemetry.registry.get_sample_value(
            "forecaster_dataset_state", {"dataset": "bikes", "state": state}
        )
        for state in ("running", "failed")
    }
    assert shown == {"running": 1.0, "failed": 0.0}
