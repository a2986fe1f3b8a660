"""A backfill beside a live service, or beside another one: nothing waits long, fails or doubles."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import RetentionConfig
from jobs.backfill import chunks
from jobs.backfill.plan import BackfillRequest, Reprocess
from jobs.backfill.report import BackfillReport
from jobs.backfill.run import Work, run
from jobs.backfill.settle_scores import settle
from jobs.execution.runner import Outcome
from tests.faults.backfiller import Contents, contents, require_same
from tests.jobs.fitting import fit_once
from tests.jobs.small import DATASET, HOUR, World, fixed, hour, land, query, rows
from tests.patience import not_hanging

pytestmark = [pytest.mark.fault(33), pytest.mark.quick_on("postgres")]

SERIES = ("a", "b/c")
OLD, TRAINED = 150, 290
"""Hours at which models were put in service."""
FIRST, LAST = 340, 379
"""Hours of the range."""
LIVE = range(374, 386)
"""Hours of the ticks that run meanwhile; those up to LAST are in the range."""
END = LIVE.stop - 1
SHORT = RetentionConfig(
    forecasts=120 * HOUR, attention=120 * HOUR, accuracy=120 * HOUR, runs=2000 * HOUR
)
ALL_LIVE = (
    "SELECT series_id, cutoff, step, issued_at, level FROM forecast_steps"
    " WHERE origin = 'live' ORDER BY 1, 2, 3"
)


@pytest.fixture
def world(engine: Engine) -> World:
    return furnish(engine)


@pytest.fixture
def twin(other_engine: Engine) -> World:
    """The same, where things happen one after the other."""
    return furnish(other_engine)


def furnish(engine: Engine) -> World:
    """A service that has run for long; no row is ever late, so that all clocks know the same."""
    land(engine, *(rows(series_id, 0, END) for series_id in SERIES))
    dataset = replace(DATASET, late_data=timedelta(0))
    world = World(engine=engine, dataset=dataset, retention=SHORT)
    succeed(world, "retrain", OLD)
    for number in range(OLD, OLD + 4):
        succeed(world, "forecast", number)
    succeed(world, "score", OLD + 40)
    succeed(world, "retrain", TRAINED)
    return world


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four ticks in one transaction: many chances to meet."""
    monkeypatch.setattr(chunks, "ROWS", 100)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def succeed(world: World, job: str, number: int) -> None:
    outcome = world.tick(job, hour(number))
    assert outcome.result == "succeeded", outcome


def backfill(world: World, reprocess: Reprocess = "none") -> BackfillReport:
    work = Work(
        engine=world.engine,
        dataset=world.dataset,
        retention=world.retention,
        fit=fit_once,
        clock=fixed(hour(END)),
    )
    return run(work, BackfillRequest(since=hour(FIRST), until=hour(LAST), reprocess=reprocess))


def live(world: World) -> list[Outcome]:
    """Run all jobs of a service; return what became of them."""
    outcomes = []
    for number in LIVE:
        for job in ("forecast", "score", *(["retrain", "prune"] if number == END else [])):
            with not_hanging():  # a backfill lasts for minutes where its machine is slow
                outcomes.append(world.tick(job, hour(number)))
        next_hour = END + 1 + number - LIVE.start
        land(world.engine, *(rows(series_id, next_hour, next_hour) for series_id in SERIES))
    return outcomes


def matures(world: World) -> None:
    """Score what is left to score."""
    succeed(world, "score", END + 1)


def whole(world: World) -> Contents:
    """Return what was forecast; which ticks a backfill left to the service is a matter of time."""
    return {name: rows for name, rows in contents(world.engine).items() if name != "runs"}


@pytest.mark.slow
def test_both_write_what_they_would_have_written_alone(
    world: World, twin: World, pool: ThreadPoolExecutor, small_chunks: None
) -> None:
    live(twin)
    backfill(twin)
    matures(twin)

    filling = pool.submit(backfill, world)
    outcomes = live(world)
    report = filling.result()
    matures(world)

    assert {each.result for each in outcomes} == {"succeeded"}
    assert (report.failures, report.left) == ((), 0)
    assert report.ticks + report.in_service + report.done_before == report.asked
    require_same(whole(world), whole(twin), but_for=["origin"])


@pytest.mark.slow
@pytest.mark.parametrize("reprocess", ["none", "all"])
def test_two_of_the_same_range_write_it_once(
    world: World,
    twin: World,
    pool: ThreadPoolExecutor,
    small_chunks: None,
    reprocess: Reprocess,
) -> None:
    for each in (world, twin):
        for number in LIVE:
            succeed(each, "forecast", number)
        if reprocess == "all":
            backfill(each)
    said_live = query(world.engine, ALL_LIVE)
    backfill(twin, reprocess)

    both = [pool.submit(backfill, world, reprocess) for _ in range(2)]
    reports = [each.result() for each in both]

    ticks = LIVE.start - FIRST
    done = [report.ticks for report in reports]
    assert [report.in_service for report in reports] == [LAST + 1 - LIVE.start] * 2
    assert (sum(done) == ticks) if reprocess == "none" else (done == [ticks, ticks])
    require_same(contents(world.engine), contents(twin.engine))
    assert query(world.engine, ALL_LIVE) == said_live


def test_what_the_service_said_meanwhile_finds_room_for_its_score(world: World) -> None:
    succeed(world, "forecast", END)
    land(world.engine, *(rows(series_id, END + 1, END + 4) for series_id in SERIES))

    settled = settle(
        world.engine, world.dataset, world.retention, since=hour(END), now=hour(END + 3)
    )

    assert settled >= len(SERIES)
