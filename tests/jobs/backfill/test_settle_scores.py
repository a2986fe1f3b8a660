"""What matures while a backfill runs is scored, though the service has looked there before."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from forecaster.evaluation import metrics
from forecaster.store.connection.engine import writing
from jobs.backfill import chunks
from jobs.backfill.plan import BackfillRequest
from jobs.backfill.report import BackfillReport
from jobs.backfill.run import BackfillProgress, Work, run
from jobs.backfill.settle_scores import settle
from tests.jobs.fitting import fit_once
from tests.jobs.small import DATASET, LAST, World, fixed, hour, land, query, rows

pytestmark = pytest.mark.quick_on("sqlite")

BEGUN, ENDED = LAST + 20, LAST + 28
WANTED = BackfillRequest(since=hour(LAST + 1), until=hour(BEGUN))


@pytest.fixture(params=["instant", "start"])
def beside(
    world: World, two_steps: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> World:
    """The service has scored up to now, and a backfill writes four ticks at a time."""
    monkeypatch.setattr(chunks, "ROWS", 100)
    world.dataset = replace(DATASET, timestamp_marks=request.param)
    assert world.tick("retrain", hour(LAST)).result == "succeeded"
    serve(world, LAST + 1, BEGUN)
    return world


def serve(world: World, first: int, last: int) -> None:
    for number in range(first, last + 1):
        land(world.engine, rows("a", number, number), rows("b/c", number, number))
        assert world.tick("score", hour(number)).result == "succeeded"


def fill(
    world: World, clock: Callable[[], datetime], on_progress: Callable[[BackfillProgress], None]
) -> BackfillReport:
    work = Work(
        engine=world.engine,
        dataset=world.dataset,
        retention=world.retention,
        fit=fit_once,
        clock=clock,
        on_progress=on_progress,
    )
    return run(work, WANTED)


def missing(world: World, now: datetime) -> int:
    """How many scores are still missing."""
    return settle(world.engine, world.dataset, world.retention, since=hour(LAST), now=now)


def test_what_a_killed_backfill_did_not_settle_is_settled_by_the_next(beside: World) -> None:
    times = [hour(BEGUN)]

    def serve_then_die(at: BackfillProgress) -> None:
        if at.ticks and times[-1] == hour(BEGUN):
            serve(beside, BEGUN + 1, ENDED)
            times.append(hour(ENDED))
        if at.ticks == at.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(beside, lambda: times[-1], serve_then_die)
    report = fill(beside, fixed(hour(ENDED)), lambda _: None)

    assert report.ticks == 0
    assert report.accuracy_rows > 0
    assert missing(beside, hour(ENDED)) == 0


def test_what_came_in_after_an_outage_is_settled_too(beside: World) -> None:
    """The service scores hours that nobody knew when the backfill began, before it writes."""
    times = [hour(ENDED)]

    def end_outage(at: BackfillProgress) -> None:
        if at.ticks and times[-1] == hour(ENDED):
            late = range(BEGUN + 1, ENDED + 2)
            land(beside.engine, *(rows(name, late[0], late[-1]) for name in ("a", "b/c")))
            times.append(hour(ENDED + 1))
            assert beside.tick("score", times[-1]).result == "succeeded"

    fill(beside, lambda: times[-1], end_outage)

    assert missing(beside, times[-1]) == 0


def test_days_are_settled_one_after_the_other(beside: World) -> None:
    fill(beside, fixed(hour(BEGUN)), lambda _: None)
    with writing(beside.engine) as conn:
        conn.exec_driver_sql("DELETE FROM accuracy")
    land(beside.engine, rows("a", BEGUN + 1, BEGUN + 80), rows("b/c", BEGUN + 1, BEGUN + 80))

    found = settle(
        beside.engine,
        DATASET,
        beside.retention,
        since=hour(LAST),
        now=hour(BEGUN + 80),
    )

    leads = len(metrics.leads(DATASET.prediction_length))
    assert found == (BEGUN - LAST) * 2 * leads
    assert query(beside.engine, "SELECT count(*) FROM accuracy") == [(found,)]
