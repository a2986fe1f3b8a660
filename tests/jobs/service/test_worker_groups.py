"""WorkerGroups: what rings when, for what is ours, never twice at once."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine, event, insert

from forecaster.config.settings import Config, TrainingConfig
from forecaster.data.panel import Panel
from forecaster.errors import StageTimedOut
from forecaster.network.spec import ModelSpec
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.connection.limits import Fence
from forecaster.store.tables import leases
from jobs.retrain import Fitted, Watch, fit_here
from jobs.service.context import Context, RunningJobs
from jobs.service.worker_groups import WorkerGroups, threads
from jobs.telemetry.metrics import Telemetry
from tests.faults.proxy import Proxy
from tests.jobs.small import DATASET, LAST, World, fixed, hour, land, query, rows

CONFIG = Config(database_url="", datasets={"bikes": DATASET})
DONE = """SELECT name, count(*) FROM runs JOIN datasets ON datasets.id = dataset_id
WHERE state = 'succeeded' GROUP BY name ORDER BY name"""


def without_leases(engine: Engine) -> Context:
    """Context in which every dataset is another replica's."""
    return Context(
        engine=engine,
        telemetry=Telemetry(["bikes"]),
        clock=fixed(hour(LAST)),
        stopping=threading.Event(),
        using=lambda _: nullcontext(),
    )


def test_nothing_long_is_in_the_lane_of_the_forecasts(engine: Engine) -> None:
    groups = WorkerGroups(CONFIG, without_leases(engine))

    found = {timer.name: (timer.group, timer.schedule) for timer in groups._timers()}

    assert found == {
        "first:bikes": ("first", DATASET.retrain_schedule),
        "forecast:bikes": ("forecast", DATASET.forecast_schedule),
        "prune:bikes": ("prune", CONFIG.prune_schedule),
        "reconcile:bikes": ("reconcile", DATASET.reconcile_schedule),
        "retrain:bikes": ("retrain", DATASET.retrain_schedule),
    }


def test_settings_are_noted_once_however_many_lanes_begin_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, both = [], threading.Barrier(2)
    monkeypatch.setattr(
        "jobs.service.worker_groups.datasets.store_settings",
        lambda conn, name, document: noted.append(name),
    )
    groups = WorkerGroups(CONFIG, without_leases(engine))

    def begin() -> None:
        both.wait()
        groups._prepare(DATASET, engine)

    lanes_at_once = [threading.Thread(target=begin) for _ in range(2)]
    for thread in lanes_at_once:
        thread.start()
    for thread in lanes_at_once:
        thread.join()

    assert noted == ["bikes"]


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
    groups = WorkerGroups(CONFIG, without_leases(engine))

    for timer in groups._timers():
        timer.action()

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

    monkeypatch.setattr("jobs.service.worker_groups.fit_in_child", fit)
    around = replace(without_leases(engine), using=lambda _: nullcontext(lease))
    groups = WorkerGroups(replace(CONFIG, datasets=both), around)
    actions = {timer.name: timer.action for timer in groups._timers()}
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
    busy = RunningJobs()

    with busy.doing("retrain:bikes") as first, busy.doing("retrain:bikes") as second:
        assert (first, second) == (True, False)
        with busy.doing("forecast:bikes") as other:
            assert other
        assert not busy.wait_until_idle(0)

    assert busy.wait_until_idle(0)
    with busy.doing("retrain:bikes") as again:
        assert again


@pytest.mark.fault(4)
def test_a_database_that_swallows_everything_holds_no_lane(
    postgres_url: str, migrate: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(postgres_url)
    address = urlsplit(postgres_url)
    monkeypatch.setattr("jobs.service.worker_groups.LOOK_WITHIN", timedelta(seconds=0.5))
    with Proxy(address.port or 0) as proxy:
        engine = open_engine(f"postgresql://forecaster@127.0.0.1:{proxy.port}{address.path}")
        groups = WorkerGroups(CONFIG, without_leases(engine))

        @event.listens_for(engine, "before_cursor_execute")
        def swallow(conn: object, cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT INTO datasets"):
                proxy.mode = "blackhole"

        with pytest.raises(StageTimedOut, match="look"):
            groups._prepare(DATASET, engine)
        engine.dispose()


def test_retired_lanes_begin_nothing_more_and_hand_on_what_they_remember(engine: Engine) -> None:
    around = without_leases(engine)
    old, new = WorkerGroups(CONFIG, around), WorkerGroups(CONFIG, around)

    old.stop()

    assert (old._backlog.is_over(), new._backlog.is_over()) == (True, False)
    assert new._backlog.job_states is old._backlog.job_states
