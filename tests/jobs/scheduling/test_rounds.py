"""Rounds of a backlog: after long outages, amid failures, and across configurations."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError, SourceUnavailable
from forecaster.store.connection.engine import writing
from forecaster.store.state import runs
from forecaster.times.schedules import Cron, Every
from jobs.execution.attempt import Attempt
from jobs.execution.job import Job
from jobs.execution.reports import PruneReport
from jobs.scheduling import backoff, misfire_policy
from jobs.scheduling.catch_up import JobStates
from tests.jobs.execution.errands import (
    Errand,
    Wall,
    make,
    reasons,
    states,
)
from tests.jobs.small import DATASET, HOUR, hour

pytestmark = pytest.mark.quick_on("sqlite")

OFTEN = Every(timedelta(seconds=10))
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses between attempts be too short to notice."""
    monkeypatch.setattr(backoff, "FIRST", 0.0)


def slow(errand: Errand, wall: Wall, length: timedelta) -> Job:
    """The job of an errand, which takes so long."""

    def run(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        wall.now += length
        return errand.run(engine, dataset, attempt)

    return replace(errand.job, run=run)


@pytest.mark.fault(29)
def test_ticks_of_a_long_outage_are_missed_part_by_part_and_the_newest_run(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    missed, dataset = list[tuple[str, int]](), replace(DATASET, catchup_limit=3)
    work = make(engine, wall, missed=missed)
    job = replace(errand.job, schedule=lambda _: OFTEN)
    work.catch_up(job, dataset)
    wall.now += 20_000 * OFTEN.period
    make(engine, wall, missed=missed).catch_up(job, dataset)

    assert errand.ticks[1:] == [wall.now - n * OFTEN.period for n in (2, 1, 0)]
    assert sum(count for _, count in missed) == 20_000 - 3
    assert {reason for reason, _ in missed} == {"limit"}
    assert max(count for _, count in missed) <= misfire_policy.SPAN


def test_what_a_stop_breaks_off_is_noted_at_the_next_look(
    engine: Engine, errand: Errand, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misfire_policy, "SPAN", 10)
    missed, asked = list[tuple[str, int]](), list[bool]()
    dataset = replace(DATASET, catchup_limit=3)
    make(engine, wall).catch_up(errand.job, dataset)
    wall.now += 40 * HOUR

    def is_over() -> bool:
        asked.append(True)
        return len(asked) > 2

    broken_off = make(engine, wall, missed=missed, is_over=is_over)
    ran = broken_off.catch_up(errand.job, dataset)
    before = list(missed)
    make(engine, wall, missed=missed).catch_up(errand.job, dataset)

    assert (ran, before) == ([], [("limit", 10)] * 2)
    assert sum(count for _, count in missed) == 37
    assert errand.ticks == [hour(10), hour(48), hour(49), hour(50)]


def test_more_years_may_be_made_up_for_than_there_were(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    yearly = replace(errand.job, schedule=lambda _: Cron("@yearly"))
    dataset = replace(DATASET, catchup_limit=10_000)
    errand.broken = True
    for _ in range(2):
        make(engine, wall).catch_up(yearly, dataset)
        wall.now += 366 * 24 * HOUR

    assert errand.ticks == [hour(0), hour(365 * 24), hour(0)]


def test_what_is_overdue_for_months_is_sorted_at_once() -> None:
    due = [hour(0) + n * OFTEN.period for n in range(200_000)]

    found = misfire_policy.apply_policy(due, replace(DATASET, catchup="none"), None)

    assert found.run == []
    assert found.missed == {"catchup": due}


@pytest.mark.fault(29)
def test_of_ticks_that_keep_failing_one_is_tried_again_at_a_time(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    work = make(engine, wall)
    errand.broken = True
    for _ in range(4):
        work.catch_up(errand.job, DATASET)
        wall.now += HOUR
    first = list(errand.ticks)
    errand.broken = False
    work.catch_up(errand.job, DATASET)

    retried = [*first, hour(14)]
    assert [retried.count(hour(n)) for n in range(10, 15)] == [2, 2, 2, 1, 1]
    assert first == [hour(n) for n in (10, 11, 10, 12, 11, 13, 12)]
    assert errand.ticks[len(first) :] == [hour(14), hour(13), *map(hour, (10, 11, 12))]
    assert set(states(engine).values()) == {"succeeded"}


def test_ticks_that_come_due_while_an_older_one_is_tried_again_are_in_time(
    engine: Engine, wall: Wall, errand: Errand
) -> None:
    missed = list[tuple[str, int]]()
    work = make(engine, wall, missed=missed)
    dataset = replace(DATASET, overlap="skip", catchup="none")
    errand.broken = True
    work.catch_up(errand.job, dataset)
    work.catch_up(slow(errand, wall, 2.5 * HOUR), dataset)
    errand.broken = False
    work.catch_up(errand.job, dataset)

    assert missed == []
    assert set(states(engine)) == {hour(10), hour(11), hour(12)}


def test_what_overlap_skips_stays_missed_where_jitter_is_long(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    wall.now += 24 * MINUTE
    work = make(engine, wall)
    dataset = replace(DATASET, overlap="skip", jitter=30 * MINUTE)
    work.catch_up(slow(errand, wall, 1.6 * HOUR), dataset)
    for _ in range(2):
        wall.now += timedelta(seconds=15)
        work.catch_up(errand.job, dataset)

    assert hour(11) not in errand.ticks
    assert hour(11) in reasons(engine)


def in_the_middle(errand: Errand, act: Callable[[], None]) -> Job:
    def run(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        act()
        return errand.run(engine, dataset, attempt)

    return replace(errand.job, run=run)


def test_a_new_configuration_goes_on_where_the_old_one_retired(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    retired, job_states = list[bool](), JobStates()
    dataset = replace(DATASET, catchup="none")
    old = make(engine, wall, is_over=lambda: bool(retired), job_states=job_states)
    old.catch_up(slow(errand, wall, 3 * HOUR), dataset)
    old.catch_up(in_the_middle(errand, lambda: retired.append(True)), dataset)
    make(engine, wall, job_states=job_states).catch_up(errand.job, dataset)

    assert errand.ticks == [hour(10), hour(11), hour(12), hour(13)]
    assert set(states(engine).values()) == {"succeeded"}


def test_a_new_configuration_leaves_alone_what_somebody_runs_by_hand(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    job_states = JobStates()
    make(engine, wall, job_states=job_states).catch_up(errand.job, DATASET)
    wall.now += HOUR
    with writing(engine) as conn:
        runs.claim(conn, "prune", "bikes", hour(11), wall.now)
    make(engine, wall, job_states=job_states).catch_up(errand.job, DATASET)

    assert errand.ticks == [hour(10)]


@pytest.mark.fault(29)
def test_a_source_that_hangs_for_days_makes_no_tick_late(engine: Engine, wall: Wall) -> None:
    errand, missed, late = Errand(engine), list[tuple[str, int]](), dict[object, timedelta]()
    work = make(engine, wall, missed=missed)

    def hangs(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        late.setdefault(attempt.tick, wall.now - attempt.tick)
        wall.now += 5 * MINUTE
        raise DataError("it must answer, found it silent")

    for _ in range(60):
        work.catch_up(replace(errand.job, run=hangs), replace(DATASET, overlap="skip"))
        wall.now += 10 * MINUTE

    assert missed == []
    assert max(late.values()) < 30 * MINUTE


@pytest.mark.fault(4)
def test_a_source_that_is_away_is_not_our_database(
    engine: Engine, errand: Errand, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST", 15.0)
    told, missed = list[float](), list[tuple[str, int]]()
    work = make(engine, wall, pauses=told, missed=missed)

    def refuse(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        raise SourceUnavailable("source must answer, found: connection refused")

    for _ in range(3):
        work.catch_up(replace(errand.job, run=refuse), replace(DATASET, catchup="none"))
        wall.now += HOUR

    assert states(engine) == {hour(n): "failed" for n in (12, 11, 10)}
    assert missed == []
    low, high = 1 - backoff.SPREAD, 1 + backoff.SPREAD
    assert all(
        low * want - 0.5 <= pause <= high * want
        for want, pause in zip((15, 30, 60), told, strict=True)
    )


@pytest.mark.fault(29)
def test_old_ticks_wait_as_soon_as_a_newer_one_has_come_due(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    work = make(engine, wall)
    errand.broken = True
    for _ in range(3):
        work.catch_up(errand.job, DATASET)
        wall.now += HOUR
    errand.broken, before = False, len(errand.ticks)
    for _ in range(2):
        work.catch_up(slow(errand, wall, 25 * MINUTE), DATASET)

    assert errand.ticks[before:] == [hour(n) for n in (13, 12, 10, 14, 11)]
    assert set(states(engine).values()) == {"succeeded"}
