"""A configuration that changes under a running service."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from forecaster.config import file
from forecaster.store.connection.engine import reading
from forecaster.store.state import datasets
from jobs.execution.clock import SteadyClock
from jobs.service.config_reload import Reload, Reloader
from jobs.service.service import Service
from jobs.telemetry.metrics import Telemetry

SETTINGS = """
database_url = "{url}"
server.listen = "127.0.0.1:0"
[datasets.bikes]
step = "1h"
prediction_length = 12
forecast_every = "{every}"
"""

DONE = """SELECT name, count(*) FROM runs JOIN datasets ON datasets.id = dataset_id
WHERE state = 'succeeded' GROUP BY name ORDER BY name"""


class Changing:
    """A service whose configuration is a file."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.path = url, folder / "forecaster.toml"
        self.write(every="1h")
        config = file.parse(self.path.read_text(), {}, read_file=str)
        self.telemetry = Telemetry(config.datasets)
        self.service = Service(
            config,
            self.telemetry,
            clock=SteadyClock(),
            stopping=threading.Event(),
            reloader=Reloader(self.path, config),
        )

    def write(self, *, every: str = "1h", more: str = "") -> None:
        self.path.write_text(SETTINGS.format(url=self.url, every=every) + more)

    def reload(self) -> None:
        """Look twice: what is new has to be the same at two looks."""
        self.service.reload()
        self.service.reload()

    def counted(self, outcome: str) -> float:
        found = self.telemetry.registry.get_sample_value(
            "forecaster_config_reloads_total", {"outcome": outcome}
        )
        assert found is not None
        return found

    def noted(self) -> dict[str, str]:
        """The settings that each dataset was last worked on with: how often it forecasts."""
        with reading(self.service.engine) as conn:
            found = {name: datasets.stored_settings(conn, name) for name in datasets.names(conn)}
        return {name: str(each["forecast_every"]) for name, each in found.items() if each}


@pytest.fixture
def changing(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Changing]:
    found = Changing(database_url, tmp_path)
    yield found
    found.service.stop()


def becomes(condition: Callable[[], bool]) -> bool:
    waiting = threading.Event()
    return any(condition() or waiting.wait(0.05) for _ in range(400))


def test_a_changed_configuration_is_put_in_force(changing: Changing) -> None:
    changing.service.start()
    assert becomes(lambda: changing.noted() == {"bikes": "1h"})

    changing.write(every="2h", more='[datasets.cars]\nstep = "1d"\nprediction_length = 2\n')
    changing.reload()

    assert changing.counted("applied") == 1
    assert becomes(lambda: changing.noted() == {"bikes": "2h", "cars": "1d"})
    assert 'dataset="cars"' in changing.telemetry.expose("")[0].decode()


def test_a_dataset_that_left_the_configuration_is_let_go(changing: Changing) -> None:
    changing.write(more='[datasets.cars]\nstep = "1d"\nprediction_length = 2\n')
    changing.service.start()
    changing.reload()
    assert becomes(lambda: set(changing.noted()) == {"bikes", "cars"})

    changing.write()
    changing.reload()

    assert 'dataset="cars"' not in changing.telemetry.expose("")[0].decode()
    assert becomes(lambda: changing.service._replica.lease_of("cars") is None)
    assert changing.service._replica.lease_of("bikes") is not None


def test_a_configuration_with_a_mistake_changes_nothing(
    changing: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    groups = changing.service._workers

    changing.write(every="often")
    changing.reload()
    changing.reload()

    assert (changing.counted("refused"), changing.counted("applied")) == (1, 0)
    assert changing.service._workers is groups
    assert caplog.text.count("configuration reload rejected") == 1
    assert "forecast_every" in caplog.text


def test_two_reloads_at_the_same_time_apply_a_change_once(
    changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging = threading.Barrier(2)
    validate = Reloader._validate

    def validate_together(reloader: Reloader) -> Reload:
        judged = validate(reloader)
        with contextlib.suppress(threading.BrokenBarrierError):
            judging.wait(0.2)
        return judged

    monkeypatch.setattr(Reloader, "_validate", validate_together)
    changing.write(every="2h")
    changing.service.reload()
    reloading = [threading.Thread(target=changing.service.reload) for _ in range(2)]

    for thread in reloading:
        thread.start()
    for thread in reloading:
        thread.join()

    assert changing.counted("applied") == 1


def test_what_cannot_be_put_in_force_is_rolled_back(
    changing: Changing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changing.service.start()
    groups = changing.service._workers
    monkeypatch.setattr(threading.Thread, "start", _no_thread)

    changing.write(every="2h")
    changing.reload()

    # The poll thread may have been first.
    assert becomes(lambda: "configuration reload failed" in caplog.text)
    monkeypatch.undo()
    assert changing.counted("failed") == 1
    assert changing.service._workers is groups


def test_mended_settings_end_the_pause_after_a_failure(changing: Changing) -> None:
    job_states = changing.service._context.job_states
    for dataset in ("bikes", "cars"):
        job_states["retrain", dataset].backoff.extend(is_outage=False)

    changing.write(every="2h")
    changing.reload()

    assert job_states["retrain", "bikes"].backoff.remaining() == 0
    assert job_states["retrain", "cars"].backoff.remaining() > 0


def test_a_stop_is_not_undone_by_a_reload(changing: Changing) -> None:
    changing.service.start()
    assert becomes(lambda: bool(changing.noted()))
    changing.write(every="2h")
    changing.service.reload()

    assert changing.service.stop()
    changing.service.reload()

    assert changing.counted("applied") == 0
    assert changing.service._replica.lease_of("bikes") is None


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_look_under_way_ends_before_connections_are_closed(changing: Changing) -> None:
    began, done = threading.Event(), threading.Event()

    @event.listens_for(changing.service.engine, "before_cursor_execute")
    def hold(*_: object) -> None:
        if threading.current_thread().name == "poll" and not began.is_set():
            began.set()
            done.wait(0.5)

    changing.service.start()
    assert began.wait(20)

    changing.service.stop()

    assert "poll" not in [thread.name for thread in threading.enumerate()]
