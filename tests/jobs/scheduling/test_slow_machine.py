"""A machine that is too slow for its ticks: they come late, none is given up for that alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import StageTimedOut
from forecaster.store.connection.engine import writing
from forecaster.store.state import runs
from forecaster.times.schedules import Every
from jobs.execution.attempt import Attempt
from jobs.execution.job import Job
from jobs.execution.reports import PruneReport
from jobs.scheduling import backoff, misfire_policy
from jobs.scheduling.backoff import Backoff
from tests.jobs.execution.errands import (
    Errand,
    Wall,
    make,
    states,
)
from tests.jobs.small import DATASET, hour

pytestmark = pytest.mark.quick_on("sqlite")

OFTEN = Every(timedelta(seconds=10))
LIMITED = replace(DATASET, catchup_limit=20)
LATE = 'stage "read" timed out after 10 s'


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses between attempts be too short to notice."""
    monkeypatch.setattr(backoff, "FIRST", 0.0)


@pytest.fixture
def wall() -> Wall:
    return Wall(hour(10))


@pytest.fixture
def errand(engine: Engine) -> Errand:
    return Errand(engine)


def as_slow_as_its_ticks(errand: Errand, wall: Wall, times_out: Callable[[datetime], bool]) -> Job:
    """A job that takes as long as one tick is from the next, and is cut now and then."""

    def run(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        wall.now += OFTEN.period
        if attempt.claim.attempt == 1 and times_out(attempt.tick):
            raise StageTimedOut(LATE, hint="check what it waits for")
        return errand.run(engine, dataset, attempt)

    return replace(errand.job, run=run, schedule=lambda _: OFTEN)


@pytest.mark.fault(29)
@pytest.mark.usefixtures("impatient")
def test_a_tick_that_was_cut_is_tried_again_though_a_newer_one_is_always_due(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    missed, cut = list[tuple[str, int]](), hour(10) + 3 * OFTEN.period
    job = as_slow_as_its_ticks(errand, wall, lambda tick: tick == cut)
    work = make(engine, wall, missed=missed)

    for _ in range(LIMITED.catchup_limit + 5):
        work.catch_up(job, LIMITED)

    assert missed == []
    assert states(engine)[cut] == "succeeded"
    assert set(states(engine).values()) == {"succeeded"}


@pytest.mark.fault(27, 29)
def test_a_tick_that_a_stop_broke_off_comes_in_its_turn_though_newer_ones_are_always_due(
    engine: Engine, errand: Errand, wall: Wall
) -> None:
    missed, job = list[tuple[str, int]](), as_slow_as_its_ticks(errand, wall, lambda _: False)
    work = make(engine, wall, missed=missed)
    work.catch_up(job, LIMITED)
    with writing(engine) as conn:
        runs.claim(conn, "prune", "bikes", wall.now, wall.now, 7)  # by who then was killed

    wall.now += OFTEN.period
    make(engine, wall, missed=missed).catch_up(job, LIMITED)

    assert errand.ticks == [hour(10) + n * OFTEN.period for n in range(3)]
    assert missed == []


def test_what_failed_is_tried_several_times_before_it_is_too_old() -> None:
    pause, patience = Backoff(), misfire_policy.longest_backoff(OFTEN, LIMITED.catchup_limit)

    for _ in range(10):
        pause.extend(is_outage=False, at_most=patience)

    assert pause.remaining() <= patience * (1 + backoff.SPREAD)
    assert 3 * patience * (1 + backoff.SPREAD) < OFTEN.period.total_seconds() * 20
    assert (
        misfire_policy.longest_backoff(DATASET.forecast_schedule, DATASET.catchup_limit)
        > backoff.LONGEST
    )


def test_a_tick_that_was_given_up_may_have_failed_or_lost_its_worker() -> None:
    assert "failed or worker died" in misfire_policy.explain("gave_up", DATASET)
