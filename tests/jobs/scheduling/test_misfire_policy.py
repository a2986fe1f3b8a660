"""What becomes of overdue ticks: catch-up, overlap, jitter, leases, outages."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, delete

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DatabaseUnavailable
from forecaster.store import tables
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.connection.limits import fence_of, guarded
from forecaster.store.state import leases, runs
from forecaster.times.schedules import Cron
from jobs.execution.attempt import Attempt
from jobs.execution.clock import delay
from jobs.execution.reports import PruneReport
from jobs.scheduling import backoff
from jobs.scheduling.backoff import Backoff
from jobs.scheduling.catch_up import CatchUp
from jobs.scheduling.misfire_policy import REASONS
from tests.jobs.execution.errands import (
    Errand,
    Wall,
    make,
    reasons,
    states,
)
from tests.jobs.small import DATASET, HOUR, hour

pytestmark = pytest.mark.quick_on("sqlite")


@pytest.fixture
def missed() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def away(free_port: int) -> Iterator[Engine]:
    """A database that does not answer."""
    engine = open_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port}/nothing")
    yield engine
    engine.dispose()


@pytest.fixture
def work(engine: Engine, wall: Wall, missed: list[tuple[str, int]]) -> CatchUp:
    return make(engine, wall, missed=missed)


def restart(work: CatchUp) -> None:
    """Forget everything, as a new process does."""
    work.job_states.clear()


@pytest.mark.parametrize(
    ("catchup", "run"), [("all", [11, 12, 13]), ("latest", [13]), ("none", [])]
)
def test_ticks_while_nothing_ran_are_made_up_for_as_told(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall, catchup: str, run: list[int]
) -> None:
    dataset = replace(DATASET, catchup=catchup)
    work.catch_up(errand.job, dataset)
    wall.now += 3 * HOUR
    restart(work)
    work.catch_up(errand.job, dataset)
    wall.now += HOUR
    work.catch_up(errand.job, dataset)

    assert errand.ticks == [hour(10), *map(hour, run), hour(14)]
    assert set(reasons(engine)) == {hour(11), hour(12), hour(13)} - set(errand.ticks)
    assert all("and catchup = " in (reason or "") for reason in reasons(engine).values())


@pytest.mark.parametrize("catchup", ["all", "latest", "none"])
def test_a_first_tick_and_those_in_time_run_whatever_is_told(
    work: CatchUp, errand: Errand, wall: Wall, catchup: str
) -> None:
    dataset = replace(DATASET, catchup=catchup)
    for _ in range(3):
        work.catch_up(errand.job, dataset)
        wall.now += HOUR

    assert errand.ticks == [hour(10), hour(11), hour(12)]


@pytest.mark.fault(29)
@pytest.mark.parametrize(("overlap", "next_ones"), [("queue", [11, 12]), ("skip", [])])
def test_ticks_that_come_due_while_an_earlier_one_runs_wait_or_are_skipped(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall, overlap: str, next_ones: list[int]
) -> None:
    dataset = replace(DATASET, overlap=overlap, catchup="none")

    def slow(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        wall.now += 2.5 * HOUR
        return errand.run(engine, dataset, attempt)

    work.catch_up(replace(errand.job, run=slow), dataset)
    work.catch_up(errand.job, dataset)
    wall.now += HOUR
    work.catch_up(errand.job, dataset)

    assert errand.ticks == [hour(10), *map(hour, next_ones), hour(13)]
    assert set(reasons(engine)) == {hour(11), hour(12)} - set(errand.ticks)
    assert all("overlap = 'skip'" in (reason or "") for reason in reasons(engine).values())


def test_a_job_wakes_up_later_by_its_jitter_and_runs_for_the_same_tick(
    work: CatchUp, errand: Errand, wall: Wall
) -> None:
    dataset = replace(DATASET, jitter=30 * HOUR / 60)
    late = delay("prune", dataset)
    wall.now = hour(10)
    work.catch_up(errand.job, dataset)
    wall.now = hour(11) + late - timedelta(seconds=1)
    work.catch_up(errand.job, dataset)
    before = list(errand.ticks)
    wall.now = hour(11) + late
    work.catch_up(errand.job, dataset)

    assert timedelta(seconds=1) < late < timedelta(minutes=30)
    assert before == [hour(9), hour(10)]
    assert errand.ticks == [hour(9), hour(10), hour(11)]


@pytest.mark.fault(9)
def test_a_day_without_half_past_two_has_its_tick_too(
    work: CatchUp, errand: Errand, wall: Wall
) -> None:
    nightly = Cron("30 2 * * *", "Europe/Berlin")
    job = replace(errand.job, schedule=lambda _: nightly)
    wall.now = datetime.fromisoformat("2026-03-28T12:00:00+01:00")
    for _ in range(3):
        work.catch_up(job, DATASET)
        wall.now += 24 * HOUR

    assert [tick.isoformat() for tick in errand.ticks] == [
        "2026-03-28T01:30:00+00:00",
        "2026-03-29T01:00:00+00:00",
        "2026-03-30T00:30:00+00:00",
    ]


def test_an_unbelievable_hour_hides_nothing(work: CatchUp, errand: Errand, wall: Wall) -> None:
    wall.now += 24 * HOUR
    work.catch_up(errand.job, DATASET)
    wall.now -= 24 * HOUR
    work.catch_up(errand.job, DATASET)
    wall.now += HOUR
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(34), hour(11)]


def test_our_database_is_tried_again_after_a_second_and_others_after_fifteen() -> None:
    pause, lengths = Backoff(), []
    for is_outage in (True, True, True, True, True, True, False, False, True):
        pause.extend(is_outage=is_outage)
        lengths.append(pause.remaining())

    expected = [1, 2, 4, 8, 15, 15, 15, 30, 1]
    low, high = 1 - backoff.SPREAD, 1 + backoff.SPREAD
    assert all(
        low * want - 0.1 <= length <= high * want
        for length, want in zip(lengths, expected, strict=True)
    )


def test_a_database_that_is_away_is_left_alone_for_a_moment(
    away: Engine, wall: Wall, errand: Errand
) -> None:
    told = list[float]()
    work = make(away, wall, pauses=told)

    with pytest.raises(DatabaseUnavailable):
        work.catch_up(errand.job, DATASET)
    work.catch_up(errand.job, DATASET)

    assert errand.ticks == []
    assert len(told) == 2
    assert all(0.5 < pause <= 1.2 for pause in told)


def test_ticks_during_an_outage_count_as_unattended(
    away: Engine, work: CatchUp, wall: Wall, errand: Errand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_OUTAGE", 0.0)
    dataset = replace(DATASET, catchup="none")
    work.catch_up(errand.job, dataset)
    wall.now += HOUR
    with pytest.raises(DatabaseUnavailable):
        work.catch_up(errand.job, dataset, away)
    work.catch_up(errand.job, dataset)

    assert errand.ticks == [hour(10)]
    assert states(work.engine)[hour(11)] == "missed"


def test_every_reason_is_one_that_the_counter_starts_with(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall, missed: list[tuple[str, int]]
) -> None:
    few = replace(DATASET, catchup_limit=1)
    errand.broken = True
    work.catch_up(errand.job, few)
    wall.now += 2 * HOUR
    work.catch_up(errand.job, few)

    assert [reason for reason, _ in missed] == ["limit", "gave_up"]
    assert {reason for reason, _ in missed} <= set(REASONS)
    assert states(engine)[hour(11)] == "missed"


def leased(engine: Engine, holder: str) -> Engine:
    """The engine under a lease that `holder` has just taken."""
    with writing(engine) as conn:
        conn.execute(delete(tables.leases))
        fence = leases.acquire(conn, "dataset/bikes", holder, timedelta(hours=1))
    assert fence is not None
    return guarded(engine, fence=fence)


def by_hand(engine: Engine, tick: datetime) -> None:
    with writing(engine) as conn:
        claim = runs.claim(conn, "prune", "bikes", tick, tick)
        runs.finish(conn, claim, now=tick, report={})


def test_what_another_lease_left_behind_is_taken_over_at_once(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall
) -> None:
    first = leased(engine, "first")
    work.catch_up(errand.job, DATASET, first)
    wall.now += HOUR
    fence = fence_of(first)
    assert fence is not None
    with writing(first) as conn:
        runs.claim(conn, "prune", "bikes", hour(11), wall.now, fence.token)

    work.catch_up(errand.job, DATASET, leased(engine, "second"))

    assert errand.ticks == [hour(10), hour(11)]
    assert set(states(engine).values()) == {"succeeded"}


def test_what_somebody_runs_by_hand_without_a_lease_is_left_to_them(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall
) -> None:
    ours = leased(engine, "ours")
    work.catch_up(errand.job, DATASET, ours)
    wall.now += HOUR
    with writing(engine) as conn:
        runs.claim(conn, "prune", "bikes", hour(11), wall.now)
    work.catch_up(errand.job, DATASET, ours)

    assert errand.ticks == [hour(10)]


def test_a_run_by_hand_hides_no_overdue_tick(
    engine: Engine, work: CatchUp, errand: Errand, wall: Wall
) -> None:
    work.catch_up(errand.job, DATASET, leased(engine, "ours"))
    wall.now += 4 * HOUR
    by_hand(engine, hour(12))
    by_hand(engine, hour(13) + timedelta(minutes=7))
    restart(work)
    work.catch_up(errand.job, DATASET, leased(engine, "again"))

    assert errand.ticks == [hour(10), hour(11), hour(13), hour(14)]
