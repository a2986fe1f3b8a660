"""A backfill that is killed, or told to end, and started again ends with the same tables."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from jobs.backfill.plan import JOB
from jobs.backfill.retrain import JOB as TRAINED
from tests.faults.backfiller import SINCE, TICKS, Backfiller, Past, furnish, require_same, wait_for
from tests.jobs.small import HOUR

POINTS = (
    "ticks:before", "ticks:after", "forecasts:before", "forecasts:after", "attention:after",
    "patches:after", "score:before", "scored:after",
)  # fmt: skip
PER_TICK = 2 * 6
"""Forecast rows."""


@pytest.fixture
def past(engine: Engine, folder: Path) -> Past:
    """Two models served, one after the other."""
    return furnish(engine, folder, SINCE - HOUR, SINCE + 30 * HOUR)


@pytest.fixture
def young(engine: Engine, folder: Path) -> Past:
    """No model ever served."""
    return furnish(engine, folder)


def reaches(past: Past, ticks: int, job: str = JOB) -> None:
    """Return as soon as more than so many ticks are done."""
    wait_for(lambda: past.count(job) > ticks)


def training(process: Backfiller) -> list[psutil.Process]:
    """Return the processes that train for it, once there are any."""
    wait_for(lambda: bool(psutil.Process(process.pid).children()))
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return found


def vanish(processes: Sequence[psutil.Process]) -> None:
    """Return as soon as none of them is left."""
    wait_for(lambda: all(is_gone(each) for each in processes))


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
@pytest.mark.fault(1)
def test_killed_at_any_place_it_leaves_whole_ticks(past: Past) -> None:
    past.ends()
    undisturbed = past.contents()
    past.forget()

    killed = [past.start(point=point).wait() for point in POINTS]
    ticks, rows = past.count(), past.contents()["forecast_steps"].height
    said = past.ends()

    assert killed == [-signal.SIGKILL] * len(POINTS)
    assert 0 < ticks < TICKS
    assert rows == ticks * PER_TICK
    assert f"other ticks: {ticks} done before" in said
    require_same(past.contents(), undisturbed)


@pytest.mark.fault(1)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_three_times_at_random_it_ends_with_the_same_tables(past: Past, seed: int) -> None:
    past.ends()
    undisturbed = past.contents()
    past.forget()
    chance = random.Random(seed)

    for least in sorted(chance.sample(range(TICKS - 20), 3)):
        process = past.start()
        reaches(past, least)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    past.ends()

    require_same(past.contents(), undisturbed)


@pytest.mark.slow
@pytest.mark.fault(1, 28)
def test_killed_while_it_trains_it_ends_with_the_same_tables_and_models(young: Past) -> None:
    words = ("--retrain-every", "1d")
    young.ends(*words)
    undisturbed = young.contents()
    young.forget()
    chance = random.Random(7)

    for trained in range(3):
        process = young.start(*words)
        reaches(young, trained - 1, TRAINED)
        children = training(process)
        time.sleep(chance.uniform(0, 2))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        vanish(children)
    young.ends(*words)

    require_same(young.contents(), undisturbed)


@pytest.mark.fault(27)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_told_to_end_it_finishes_what_it_writes_and_says_how_to_go_on(
    past: Past, number: int
) -> None:
    process = past.start()
    reaches(past, 0)
    os.kill(process.pid, number)

    status = process.wait()
    ticks, rows = past.count(), past.contents()["forecast_steps"].height
    after = past.ends()

    assert status == 128 + number
    assert 0 < ticks < TICKS
    assert rows == ticks * PER_TICK
    assert f"other ticks: {ticks} done before" in after
    assert past.count() == TICKS


@pytest.mark.slow
@pytest.mark.fault(27)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_told_to_end_while_it_trains_it_leaves_no_training_behind(
    engine: Engine, folder: Path
) -> None:
    endless = furnish(engine, folder, steps=100_000)
    process = endless.start("--retrain-every", "1d")
    children = training(process)

    os.kill(process.pid, signal.SIGINT)

    assert process.wait() == 128 + signal.SIGINT
    vanish(children)
    assert endless.count() == endless.count(TRAINED) == 0
    assert "stopped; run the same command again to continue" in process.said()
