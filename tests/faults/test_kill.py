"""Killed with -9 at any moment, a tick is written once and whole, or not at all."""

import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.store.engine import writing
from tests.faults.ticker import PLACES, PULLED
from tests.jobs.small import HORIZON, World, hour, rows

FIRST = 400
SERIES = ("a", "b")


@pytest.fixture
def world(engine: Engine) -> World:
    """A source with a hundred ticks to come, and a champion trained on what came before."""
    frame = pl.concat([rows(series_id, 0, FIRST + 100) for series_id in SERIES])
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE source (series_id TEXT, timestamp TEXT, value REAL)"))
        conn.execute(
            text("INSERT INTO source VALUES (:series_id, :timestamp, :value)"),
            frame.with_columns(pl.col("timestamp").dt.to_string("%Y-%m-%d %H:%M:%S")).to_dicts(),
        )
    world = World(engine=engine, dataset=PULLED)
    world.tick("retrain", hour(FIRST))
    return world


def ticker(url: str, first: int, last: int, *point: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.faults.ticker", url, str(first), str(last), *point]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def require_whole_ticks(engine: Engine, first: int, last: int) -> None:
    """Assert that every tick was written exactly once, with all its rows."""
    statements = {
        "runs": "SELECT state, count(*) FROM runs WHERE job = 'forecast' GROUP BY state",
        "forecasts": "SELECT cutoff, count(*) FROM forecasts GROUP BY cutoff",
        "attention": "SELECT cutoff, count(*) FROM attention GROUP BY cutoff",
        "patches": "SELECT cutoff, count(*) FROM attention_patches GROUP BY cutoff",
    }
    with engine.connect() as conn:
        found = {
            name: [tuple(row) for row in conn.execute(text(statement))]
            for name, statement in statements.items()
        }
    ticks = last - first + 1
    assert found["runs"] == [("succeeded", ticks)]
    assert len(found["forecasts"]) == len(found["attention"]) == len(found["patches"]) == ticks
    assert {count for _, count in found["forecasts"]} == {len(SERIES) * HORIZON}
    assert len({count for _, count in found["attention"]}) == 1
    assert len({count for _, count in found["patches"]}) == 1


def kill_at(points: list[str], world: World, url: str) -> None:
    """Kill a process at each point, in ticks one after the other, then let one finish."""
    for number, point in enumerate(points):
        killed = ticker(url, FIRST + number, FIRST + number, point)
        killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL, point

    finished = ticker(url, FIRST, FIRST + len(points) - 1)
    said, _ = finished.communicate(timeout=60)

    assert finished.returncode == 0
    assert said.count("succeeded") == len(points)
    require_whole_ticks(world.engine, FIRST, FIRST + len(points) - 1)


@pytest.mark.fault(1)
@pytest.mark.slow
def test_a_process_killed_between_two_writes_leaves_no_half_tick(
    world: World, database_url: str
) -> None:
    kill_at(["land:after", "forecasts:after", "watermark:after"], world, database_url)


@pytest.mark.fault(1)
@pytest.mark.slow
def test_a_process_killed_at_any_stage_leaves_no_half_tick(world: World, database_url: str) -> None:
    points = [f"{place}:{when}" for place in PLACES for when in ("before", "after")]

    kill_at(points, world, database_url)


@pytest.mark.fault(25)
def test_two_processes_that_race_for_the_same_ticks_write_each_once(
    world: World, database_url: str
) -> None:
    racers = [ticker(database_url, FIRST, FIRST + 8) for _ in range(2)]

    said = [racer.communicate(timeout=120)[0] for racer in racers]

    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(lines.count("succeeded") for lines in said) == 9
    assert sum(lines.count("already_done") for lines in said) == 9
    require_whole_ticks(world.engine, FIRST, FIRST + 8)


@pytest.mark.fault(1)
@pytest.mark.slow
def test_a_process_killed_at_random_moments_loses_and_doubles_nothing(
    world: World, database_url: str
) -> None:
    chance = random.Random(20261120)
    reached = FIRST
    for _ in range(20):
        killed = ticker(database_url, reached, FIRST + 100)
        assert killed.stdout is not None
        reached = int(killed.stdout.readline().split()[0]) + 1
        time.sleep(chance.uniform(0, 0.15))
        killed.send_signal(signal.SIGKILL)
        for line in killed.communicate()[0].splitlines():
            reached = int(line.split()[0]) + 1

    finished = ticker(database_url, FIRST, reached)
    finished.communicate(timeout=120)

    assert finished.returncode == 0
    require_whole_ticks(world.engine, FIRST, reached)
