"""Catching up: what is due runs once, what fails is tried again, nothing is forgotten."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import run_history, runs
from forecaster.times.schedules import Every
from jobs.execution.attempt import Attempt
from jobs.execution.reports import PruneReport
from jobs.scheduling import backoff
from jobs.scheduling.catch_up import CatchUp
from jobs.scheduling.due_ticks import ABANDONED_AFTER
from tests.jobs.execution.errands import (
    Errand,
    Wall,
    make,
    states,
)
from tests.jobs.small import DATASET, HOUR, hour

pytestmark = pytest.mark.quick_on("sqlite")

FEW = replace(DATASET, catchup_limit=2)


@pytest.fixture
def work(engine: Engine, wall: Wall) -> CatchUp:
    return make(engine, wall)


def fail_by_hand(engine: Engine, tick: datetime) -> None:
    with writing(engine) as conn:
        claim = runs.claim(conn, "prune", "bikes", tick, tick)
        runs.fail(conn, claim, now=tick, error="it must work, found it broken")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses between attempts be too short to notice."""
    monkeypatch.setattr(backoff, "FIRST", 0.0)


def test_a_first_look_runs_the_newest_tick_and_a_second_one_nothing(
    work: CatchUp, errand: Errand
) -> None:
    work.catch_up(errand.job, DATASET)
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10)]


def test_overdue_ticks_run_oldest_first(work: CatchUp, errand: Errand, wall: Wall) -> None:
    work.catch_up(errand.job, DATASET)
    wall.now += 3 * HOUR
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10), hour(11), hour(12), hour(13)]


def test_ticks_too_old_to_make_up_for_are_recorded_as_missed(engine: Engine, wall: Wall) -> None:
    errand, missed = Errand(engine), list[tuple[str, int]]()
    work = make(engine, wall, missed=missed)
    work.catch_up(errand.job, FEW)
    wall.now += 5 * HOUR
    work.catch_up(errand.job, FEW)

    assert errand.ticks == [hour(10), hour(14), hour(15)]
    assert missed == [("limit", 3)]
    lost = [tick for tick, state in states(engine).items() if state == "missed"]
    assert lost == [hour(13), hour(12), hour(11)]


def test_nothing_is_missed_where_the_newest_run_does_the_work_of_all(
    engine: Engine, wall: Wall
) -> None:
    errand, missed = Errand(engine), list[tuple[str, int]]()
    job = replace(errand.job, cumulative=True)
    work = make(engine, wall, missed=missed)
    work.catch_up(job, DATASET)
    wall.now += 5 * HOUR
    work.catch_up(job, DATASET)

    assert errand.ticks == [hour(10), hour(15)]
    assert missed == []
    assert set(states(engine).values()) == {"succeeded"}


def test_a_tick_that_failed_is_tried_again_until_it_succeeds(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall
) -> None:
    errand.broken = True
    work.catch_up(errand.job, DATASET)
    wall.now += HOUR
    errand.broken = False
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10), hour(11), hour(10)]
    assert set(states(engine).values()) == {"succeeded"}


def test_what_keeps_failing_is_left_alone_for_a_while(
    work: CatchUp, errand: Errand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST", 60.0)
    errand.broken = True
    work.catch_up(errand.job, DATASET)
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10)]


def test_a_run_left_behind_by_a_process_that_died_runs_again_at_start(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall
) -> None:
    with writing(engine) as conn:
        runs.claim(conn, "prune", "bikes", hour(10), wall.now)

    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10)]


def test_what_failed_by_hand_does_not_count(engine: Engine, work: CatchUp, errand: Errand) -> None:
    retrain = replace(errand.job, cumulative=True)
    fail_by_hand(engine, hour(10) + timedelta(minutes=1))
    fail_by_hand(engine, hour(10) + timedelta(minutes=2))
    work.catch_up(retrain, DATASET)
    fail_by_hand(engine, hour(10) + timedelta(minutes=3))
    work.catch_up(retrain, DATASET)

    assert errand.ticks == [hour(10)]


def test_a_run_that_another_process_started_meanwhile_is_its_own_until_it_is_old(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall
) -> None:
    work.catch_up(errand.job, DATASET)
    wall.now += HOUR
    with writing(engine) as conn:
        runs.claim(conn, "prune", "bikes", hour(11), wall.now)

    work.catch_up(errand.job, DATASET)
    before = list(errand.ticks)
    wall.now += ABANDONED_AFTER + timedelta(minutes=1)
    work.catch_up(errand.job, DATASET)

    assert before == [hour(10)]
    assert errand.ticks == [hour(10), hour(12), hour(11)]


def test_a_clock_that_was_set_back_runs_nothing_twice(
    work: CatchUp, errand: Errand, wall: Wall
) -> None:
    work.catch_up(errand.job, DATASET)
    wall.now -= 5 * HOUR
    work.catch_up(errand.job, DATASET)
    wall.now += 6 * HOUR
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10), hour(11)]


def test_a_stop_ends_the_backlog_after_the_tick_under_way(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    stopping = threading.Event()
    work = make(engine, wall, is_over=stopping.is_set)
    work.catch_up(errand.job, DATASET)
    wall.now += 5 * HOUR

    def run(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        stopping.set()
        return errand.run(engine, dataset, attempt)

    work.catch_up(replace(errand.job, run=run), DATASET)

    assert errand.ticks == [hour(10), hour(11)]


def test_a_tick_tried_in_vain_until_it_is_too_old_is_missed(engine: Engine, wall: Wall) -> None:
    errand, missed = Errand(engine), list[tuple[str, int]]()
    work = make(engine, wall, missed=missed)
    errand.broken = True
    work.catch_up(errand.job, FEW)
    errand.broken = False
    wall.now += 2 * HOUR
    work.catch_up(errand.job, FEW)

    assert missed == [("gave_up", 1)]
    assert states(engine) == {hour(10): "missed", hour(11): "succeeded", hour(12): "succeeded"}
    with reading(engine) as conn:
        assert run_history.list_runs(conn, "bikes")[-1].error == "it must work, found it broken"


def test_a_run_left_behind_too_long_ago_is_missed(engine: Engine, wall: Wall) -> None:
    errand, missed = Errand(engine), list[tuple[str, int]]()
    with writing(engine) as conn:
        runs.claim(conn, "prune", "bikes", hour(8), hour(8))

    make(engine, wall, missed=missed).catch_up(errand.job, FEW)

    assert missed == [("gave_up", 1)]
    assert states(engine) == {hour(8): "missed", hour(9): "succeeded", hour(10): "succeeded"}


def test_a_run_whose_work_a_newer_one_does_has_failed(
    engine: Engine, work: CatchUp, errand: Errand
) -> None:
    with writing(engine) as conn:
        runs.claim(conn, "prune", "bikes", hour(8), hour(8))

    work.catch_up(replace(errand.job, cumulative=True), DATASET)

    assert states(engine) == {hour(8): "failed", hour(10): "succeeded"}


def test_what_does_the_work_of_all_ticks_runs_for_the_newest_forecast_tick(
    work: CatchUp, errand: Errand, wall: Wall
) -> None:
    weekly = replace(errand.job, schedule=lambda _: Every(168 * HOUR), cumulative=True)
    errand.broken = True
    work.catch_up(weekly, DATASET)
    errand.broken = False
    wall.now += 5 * HOUR
    work.catch_up(weekly, DATASET)
    wall.now += 5 * HOUR
    work.catch_up(weekly, DATASET)

    assert errand.ticks == [hour(10), hour(15)]


def test_what_is_gone_is_made_again_for_the_next_forecast_tick(
    work: CatchUp, errand: Errand, wall: Wall
) -> None:
    weekly = replace(errand.job, schedule=lambda _: Every(168 * HOUR), cumulative=True)
    work.catch_up(weekly, DATASET)
    work.catch_up(weekly, DATASET, even_if_done=True)
    wall.now += HOUR
    work.catch_up(weekly, DATASET)
    work.catch_up(weekly, DATASET, even_if_done=True)

    assert errand.ticks == [hour(10), hour(11)]


def test_a_tick_that_keeps_failing_does_not_hold_up_newer_ones(
    work: CatchUp, errand: Errand, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST", 60.0)
    errand.broken = True
    work.catch_up(errand.job, DATASET)
    errand.broken = False
    wall.now += HOUR
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10), hour(11)]


def test_a_tick_of_the_future_stops_nothing(work: CatchUp, errand: Errand, wall: Wall) -> None:
    job, newest = errand.job, replace(DATASET, catchup_limit=1)
    for jump in (0, 900, -899):
        wall.now += jump * HOUR
        work.catch_up(job, newest)
        work.catch_up(replace(job, name="score", cumulative=True), newest)

    assert errand.ticks == [hour(10)] * 2 + [hour(910)] * 2 + [hour(11)] * 2
