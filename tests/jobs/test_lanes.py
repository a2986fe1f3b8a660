"""Lanes: what rings when, for what is ours, never twice at once; and a change of configuration."""

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine, event, insert

import jobs.lanes
from forecaster import configfile
from forecaster.config import Config, TrainingConfig
from forecaster.errors import StageTimedOut
from forecaster.model.spec import ModelSpec
from forecaster.series.panel import Panel
from forecaster.store import datasets
from forecaster.store.engine import open_engine, reading, writing
from forecaster.store.guards import Fence
from forecaster.store.tables import leases
from jobs.lanes import Busy, Lanes, Surroundings, threads
from jobs.reloading import Reloader
from jobs.retrain import Fitted, Watch, fit_here
from jobs.service import Service
from jobs.telemetry import Telemetry
from jobs.ticks import SteadyClock
from tests.faults.proxy import Proxy
from tests.jobs.small import DATASET, LAST, World, fixed, hour, land, query, rows

CONFIG = Config(database_url="", datasets={"bikes": DATASET})
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


def without_leases(engine: Engine) -> Surroundings:
    """Surroundings in which every dataset is another replica's."""
    return Surroundings(
        engine=engine,
        telemetry=Telemetry(["bikes"]),
        clock=fixed(hour(LAST)),
        stopping=threading.Event(),
        using=lambda _: nullcontext(),
    )


def test_nothing_long_is_in_the_lane_of_the_forecasts(engine: Engine) -> None:
    lanes = Lanes(CONFIG, without_leases(engine))

    found = {alarm.name: (alarm.lane, alarm.schedule) for alarm in lanes._alarms()}

    assert found == {
        "first:bikes": ("first", DATASET.retrain_schedule),
        "forecast:bikes": ("forecast", DATASET.forecast_schedule),
        "prune:bikes": ("prune", CONFIG.prune_schedule),
        "reconcile:bikes": ("reconcile", DATASET.reconcile_schedule),
        "retrain:bikes": ("retrain", DATASET.retrain_schedule),
    }


@pytest.mark.parametrize(("count", "expected"), [(1, 4), (7, 7), (500, 10)])
def test_a_dataset_that_waits_for_its_source_leaves_the_others_their_threads(
    count: int, expected: int
) -> None:
    many = {str(number): replace(DATASET, name=str(number)) for number in range(count)}

    found = threads(replace(CONFIG, datasets=many))

    assert found == {
        "first": 1, "forecast": expected, "retrain": 1, "reconcile": 1, "prune": 1
    }  # fmt: skip


def test_nothing_is_done_for_a_dataset_of_another_replica(engine: Engine) -> None:
    lanes = Lanes(CONFIG, without_leases(engine))

    for alarm in lanes._alarms():
        alarm.action()

    assert query(engine, "SELECT count(*) FROM runs") == [(0,)]


def test_a_first_training_does_not_wait_for_a_long_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bikes", "cars"):
        land(engine, rows("a", 0, LAST), dataset=name)
    World(engine=engine).tick("retrain", hour(LAST - 100))
    both = {name: replace(DATASET, name=name) for name in ("bikes", "cars")}
    lease = Fence(name="dataset/both", holder="us", token=7)
    with writing(engine) as conn:
        conn.execute(insert(leases).values(**asdict(lease), expires_at=hour(LAST)))
    begun, ended = threading.Event(), threading.Event()

    def fit(panel: Panel, spec: ModelSpec, config: TrainingConfig, *, watch: Watch) -> Fitted:
        if not begun.is_set():  # that of bikes
            begun.set()
            assert ended.wait(30)
        return fit_here(panel, spec, config, watch=watch)

    monkeypatch.setattr(jobs.lanes, "fit_in_child", fit)
    around = replace(without_leases(engine), using=lambda _: nullcontext(lease))
    lanes = Lanes(replace(CONFIG, datasets=both), around)
    actions = {alarm.name: alarm.action for alarm in lanes._alarms()}
    long = threading.Thread(target=actions["retrain:bikes"])
    long.start()
    assert begun.wait(30)

    for name in ("first:bikes", "retrain:cars", "first:cars"):
        actions[name]()

    done = query(engine, DONE)
    ended.set()
    long.join()
    assert done == [("bikes", 1), ("cars", 1)]
    assert query(engine, DONE) == [("bikes", 2), ("cars", 1)]


def test_what_is_under_way_is_not_begun_again() -> None:
    busy = Busy()

    with busy.doing("retrain:bikes") as first, busy.doing("retrain:bikes") as second:
        assert (first, second) == (True, False)
        with busy.doing("forecast:bikes") as other:
            assert other
        assert not busy.wait_until_idle(0)

    assert busy.wait_until_idle(0)
    with busy.doing("retrain:bikes") as again:
        assert again


class Changing:
    """A service whose configuration is a file."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.path = url, folder / "forecaster.toml"
        self.write(every="1h")
        config = configfile.parse(self.path.read_text(), {}, read_file=str)
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
            found = {name: datasets.noted_settings(conn, name) for name in datasets.names(conn)}
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
    lanes = changing.service._lanes

    changing.write(every="often")
    changing.reload()
    changing.reload()

    assert (changing.counted("refused"), changing.counted("applied")) == (1, 0)
    assert changing.service._lanes is lanes
    assert caplog.text.count("cannot be used") == 1
    assert "forecast_every" in caplog.text


def test_what_cannot_be_put_in_force_is_rolled_back(
    changing: Changing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changing.service.start()
    lanes = changing.service._lanes
    monkeypatch.setattr(threading.Thread, "start", _no_thread)

    changing.write(every="2h")
    changing.reload()

    monkeypatch.undo()
    assert changing.counted("failed") == 1
    assert changing.service._lanes is lanes
    assert "could not be put in force" in caplog.text


def test_mended_settings_end_the_pause_after_a_failure(changing: Changing) -> None:
    memories = changing.service._around.memories
    for dataset in ("bikes", "cars"):
        memories["retrain", dataset].pause.lengthen(is_outage=False)

    changing.write(every="2h")
    changing.reload()

    assert memories["retrain", "bikes"].pause.left() == 0
    assert memories["retrain", "cars"].pause.left() > 0


def test_a_stop_is_not_undone_by_a_reload(changing: Changing) -> None:
    changing.service.start()
    assert becomes(lambda: bool(changing.noted()))
    changing.write(every="2h")
    changing.service.reload()

    assert changing.service.stop()
    changing.service.reload()

    assert changing.counted("applied") == 0
    assert changing.service._replica.lease_of("bikes") is None


@pytest.mark.fault(4)
def test_a_database_that_swallows_everything_holds_no_lane(
    postgres_url: str, migrate: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(postgres_url)
    address = urlsplit(postgres_url)
    monkeypatch.setattr(jobs.lanes, "LOOK_WITHIN", timedelta(seconds=0.5))
    with Proxy(address.port or 0) as proxy:
        engine = open_engine(f"postgresql://forecaster@127.0.0.1:{proxy.port}{address.path}")
        lanes = Lanes(CONFIG, without_leases(engine))

        @event.listens_for(engine, "before_cursor_execute")
        def swallow(conn: object, cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT INTO datasets"):
                proxy.mode = "blackhole"

        with pytest.raises(StageTimedOut, match="look"):
            lanes._prepare(DATASET, engine)
        engine.dispose()


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_retired_lanes_begin_nothing_more_and_hand_on_what_they_remember(engine: Engine) -> None:
    around = without_leases(engine)
    old, new = Lanes(CONFIG, around), Lanes(CONFIG, around)

    old.stop()

    assert (old._backlog.is_over(), new._backlog.is_over()) == (True, False)
    assert new._backlog.memories is old._backlog.memories
