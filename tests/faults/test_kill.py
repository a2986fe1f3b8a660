"""Killed with -9 at any stage of any job, a tick is written once and whole, or not at all."""

import random
import signal
import time
from collections.abc import Iterable

import polars as pl
import pytest
from sqlalchemy import Engine, func, select, text

from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from tests.faults.ticker import PULLED, SHORT, STAGES, Ticker, points
from tests.jobs.small import HORIZON, World, hour, land, rows

pytestmark = pytest.mark.quick_on("postgres")

FIRST = 400
BEFORE = 8
"""Ticks that were forecast before."""
SERIES = ("a", "b")
COMPARED = (
    tables.runs, tables.observations, tables.models, tables.forecasts, tables.attention,
    tables.attention_patches, tables.accuracy, tables.watermarks,
)  # fmt: skip
OF_THE_ATTEMPT = {
    "id",
    "model_id",
    "parent_id",
    "reason",
    "attempt",
    "report",
    "progress",
    "recorded_at",
}
"""Columns that may tell how often something was tried."""


def furnish(engine: Engine) -> World:
    """A source with ticks to come, forecasts that have matured, and a champion for the next."""
    frame = pl.concat([rows(series_id, 0, FIRST + 100) for series_id in SERIES])
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE source (series_id TEXT, timestamp TEXT, value REAL)"))
        conn.execute(
            text("INSERT INTO source VALUES (:series_id, :timestamp, :value)"),
            frame.with_columns(pl.col("timestamp").dt.to_string("%Y-%m-%d %H:%M:%S")).to_dicts(),
        )
    world = World(engine=engine, dataset=PULLED, retention=SHORT)
    world.tick("retrain", hour(FIRST - BEFORE))
    for number in range(FIRST - BEFORE, FIRST):
        world.tick("forecast", hour(number))
    world.tick("retrain", hour(FIRST))
    return world


@pytest.fixture
def world(engine: Engine) -> World:
    return furnish(engine)


@pytest.fixture
def twin(other_engine: Engine) -> World:
    """The same world in another database, where nobody is killed."""
    return furnish(other_engine)


def contents(engine: Engine) -> dict[str, list[str]]:
    """Return what each table holds, but for how it came there and the last digits of sums."""
    found = {}
    with reading(engine) as conn:
        for table in COMPARED:
            columns = [each for each in table.c if each.name not in OF_THE_ATTEMPT]
            found[table.name] = sorted(map(shown, conn.execute(select(*columns))))
    return found


def shown(row: Iterable[object]) -> str:
    return repr([f"{each:.12g}" if isinstance(each, float) else each for each in row])


def require_whole_ticks(engine: Engine, last: int) -> None:
    """Assert that every tick since FIRST was written exactly once, with all its rows."""
    with reading(engine) as conn:
        states = conn.execute(
            select(tables.runs.c.state, func.count())
            .where(tables.runs.c.job == "forecast", tables.runs.c.tick >= hour(FIRST))
            .group_by(tables.runs.c.state)
        ).all()
        counts = {
            table.name: conn.execute(
                select(table.c.cutoff, func.count())
                .where(table.c.cutoff >= hour(FIRST))
                .group_by(table.c.cutoff)
            ).all()
            for table in (tables.forecast_steps, tables.attention, tables.attention_patches)
        }
    assert states == [("succeeded", last - FIRST + 1)]
    assert {len(found) for found in counts.values()} == {last - FIRST + 1}
    assert [len({count for _, count in found}) for found in counts.values()] == [1, 1, 1]
    assert counts["forecast_steps"][0][1] == len(SERIES) * HORIZON


@pytest.mark.slow
@pytest.mark.fault(1)
@pytest.mark.parametrize("job", STAGES)
def test_killed_at_any_stage_a_job_leaves_what_it_would_have_left(
    world: World, twin: World, database_url: str, job: str
) -> None:
    if job == "score":
        for each in (world, twin):
            land(each.engine, *(rows(series_id, FIRST + 1, FIRST + 50) for series_id in SERIES))

    for tick, point in enumerate(points(job), start=FIRST + 1):
        killed = Ticker(database_url, job, tick, tick, point).wait()
        again = [*Ticker(database_url, job, tick, tick).said()]
        undisturbed = twin.tick(job, hour(tick)).result

        was_written = point.startswith("notify")
        assert (point, killed) == (point, -signal.SIGKILL)
        assert again == [(tick, "already_done" if was_written else "succeeded")]
        assert undisturbed == "succeeded"
    assert contents(world.engine) == contents(twin.engine)


@pytest.mark.fault(1)
def test_a_process_killed_between_two_writes_leaves_no_half_tick(
    world: World, database_url: str
) -> None:
    points = ["forecasts:after", "ingest:after", "finish:after"]  # the first has nothing to ingest

    killed = [
        Ticker(database_url, "forecast", FIRST + number, FIRST + number, point).wait()
        for number, point in enumerate(points)
    ]
    said = [*Ticker(database_url, "forecast", FIRST, FIRST + 2).said()]

    assert killed == [-signal.SIGKILL] * 3
    assert said == [(FIRST + number, "succeeded") for number in range(3)]
    require_whole_ticks(world.engine, FIRST + 2)


@pytest.mark.fault(25)
def test_two_processes_that_race_for_the_same_ticks_write_each_once(
    world: World, database_url: str
) -> None:
    racers = [Ticker(database_url, "forecast", FIRST, FIRST + 8) for _ in range(2)]

    results = [result for racer in racers for _, result in racer.said()]

    assert [racer.wait() for racer in racers] == [0, 0]
    assert (results.count("succeeded"), results.count("already_done")) == (9, 9)
    require_whole_ticks(world.engine, FIRST + 8)


@pytest.mark.slow
@pytest.mark.fault(1)
def test_a_process_killed_at_random_moments_loses_and_doubles_nothing(
    world: World, database_url: str
) -> None:
    chance = random.Random(20261120)
    reached = FIRST
    for _ in range(30):
        killed = Ticker(database_url, "forecast", reached, FIRST + 100)
        said = killed.said()
        reached = next(said)[0] + 1
        time.sleep(chance.uniform(0, 0.15))
        killed.kill()
        reached = max([reached, *(number + 1 for number, _ in said)])

    Ticker(database_url, "forecast", FIRST, reached).wait()

    require_whole_ticks(world.engine, reached)
