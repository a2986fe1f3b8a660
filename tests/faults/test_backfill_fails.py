"""What a backfill cannot do is on record, the rest is done, and the next one does what is left."""

import itertools
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from forecaster.errors import DatabaseUnavailable, StoreError
from forecaster.store.connection.engine import reading, writing
from forecaster.store.tables import models
from forecaster.times.durations import Step
from jobs.backfill import chunks
from jobs.backfill.plan import BackfillRequest, Reprocess, plan
from jobs.backfill.report import BackfillReport
from jobs.backfill.retries import RetryPolicy, Stopped
from jobs.backfill.run import BackfillProgress, Work, carry_out, run
from tests.faults.backfiller import SINCE, TICKS, UNTIL, Past, furnish, require_same
from tests.faults.refusals import DEADLOCK, full, refusing
from tests.jobs.fitting import fit_once
from tests.jobs.small import HOUR, fixed, query
from tests.jobs.terminal.terminal import NEWEST, type_

pytestmark = pytest.mark.quick_on("postgres")

SECOND = 30
"""How many ticks of the range come before the second model."""
STATES = "SELECT state, count(*), max(error) FROM runs WHERE job = 'backfill' GROUP BY 1 ORDER BY 1"


@pytest.fixture
def past(engine: Engine, folder: Path) -> Past:
    """Two models served, one after the other."""
    return furnish(engine, folder, SINCE - HOUR, SINCE + (SECOND - 1) * HOUR)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ROWS", 100)


def work_of(past: Past, **more: object) -> Work:
    work = Work(
        engine=past.engine,
        dataset=past.world.dataset,
        retention=past.world.retention,
        fit=fit_once,
        clock=fixed(NEWEST),
    )
    return replace(work, **more)  # type: ignore[arg-type]


def fill(past: Past, reprocess: Reprocess = "none", **more: object) -> BackfillReport:
    return run(
        work_of(past, **more), BackfillRequest(since=SINCE, until=UNTIL, reprocess=reprocess)
    )


def first_model(engine: Engine) -> int:
    with reading(engine) as conn:
        found: int = min(conn.scalars(select(models.c.id)))
    return found


def set_weights(engine: Engine, model_id: int, weights: bytes | None) -> bytes | None:
    """Replace the weights of a model; return what they were."""
    with writing(engine) as conn:
        query = select(models.c.weights).where(models.c.id == model_id)
        before: bytes | None = conn.scalars(query).one()
        conn.execute(update(models).where(models.c.id == model_id).values(weights=weights))
    return before


@pytest.mark.fault(5)
def test_a_disk_that_fills_up_on_the_way_spoils_nothing(past: Past) -> None:
    with ExitStack() as stack:

        def fill_up(at: BackfillProgress) -> None:
            if at.ticks == 16:
                stack.enter_context(full(past.engine, "attention"))

        with pytest.raises(StoreError, match="disk full"):
            fill(past, on_progress=fill_up)
    done = past.count()
    again = fill(past)

    assert done == 16
    assert (again.ticks, again.done_before, again.failures) == (TICKS - 16, 16, ())
    found = past.contents()
    past.forget()
    fill(past)
    require_same(found, past.contents())


@pytest.mark.fault(2, 6)
@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_database_that_is_away_for_a_moment_costs_some_more_tries(past: Past) -> None:
    fill(past)
    undisturbed = past.contents()
    past.forget()
    notified = list[str]()

    with refusing(past.engine, "accuracy", DEADLOCK, times=4):
        report = fill(past, notify=notified.append)

    assert (report.ticks, report.failures) == (TICKS, ())
    assert [line.partition(":")[0] for line in notified] == ["retrying for up to 60 s"]
    require_same(past.contents(), undisturbed)


@pytest.mark.fault(2)
@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_whoever_asks_for_the_end_while_the_database_is_away_is_told_what_was_done(
    past: Past,
) -> None:
    stopping = threading.Event()

    with refusing(past.engine, "accuracy", DEADLOCK, times=4):
        report = fill(past, stopping=stopping, notify=lambda _: stopping.set())

    assert (report.left, report.failures) == (TICKS, ())
    assert fill(past).ticks == TICKS


@pytest.mark.fault(2)
@pytest.mark.parametrize("is_asked_to_end", [False, True])
def test_a_database_that_stays_away_ends_it_and_so_does_whoever_asks(is_asked_to_end: bool) -> None:
    stopping, tries = threading.Event(), itertools.count()
    if is_asked_to_end:
        stopping.set()
    retry_policy = RetryPolicy(stopping=stopping, notify=lambda _: None, seconds=0.3)

    def attempt() -> None:
        next(tries)
        raise DatabaseUnavailable("no answer")

    with pytest.raises(Stopped if is_asked_to_end else DatabaseUnavailable):
        retry_policy.until_done(attempt)

    assert (next(tries) == 1) is is_asked_to_end


@pytest.mark.fault(21)
def test_ticks_of_a_damaged_model_fail_and_are_done_when_it_is_whole_again(past: Past) -> None:
    fill(past)
    undisturbed = past.contents()
    past.forget()
    damaged = first_model(past.engine)
    sound = set_weights(past.engine, damaged, b"no safetensors")

    broken = fill(past)
    states = query(past.engine, STATES)
    left_alone = fill(past)
    set_weights(past.engine, damaged, sound)
    mended = fill(past, "failed")

    assert (broken.ticks, len(broken.failures)) == (TICKS - SECOND, 1)
    assert (broken.failures[0].ticks, broken.failures[0].first) == (SECOND, SINCE)
    assert states == [
        ("failed", SECOND, broken.failures[0].error), ("succeeded", TICKS - SECOND, None)
    ]  # fmt: skip
    assert (left_alone.ticks, left_alone.failed_before) == (0, SECOND)
    assert (mended.ticks, mended.done_before, mended.failures) == (SECOND, TICKS - SECOND, ())
    require_same(past.contents(), undisturbed)


@pytest.mark.fault(21)
def test_ticks_of_a_model_that_is_pruned_meanwhile_fail_and_the_others_go_on(past: Past) -> None:
    work, wanted = work_of(past), BackfillRequest(since=SINCE, until=UNTIL)
    with reading(past.engine) as conn:
        found = plan(conn, work.dataset, wanted, now=NEWEST)
    set_weights(past.engine, first_model(past.engine), None)

    report = carry_out(work, wanted, found)

    assert (report.ticks, report.failures[0].ticks) == (TICKS - SECOND, SECOND)
    assert "were pruned" in report.failures[0].error


def test_a_model_that_cannot_be_loaded_is_told_by_the_exit_status(past: Past) -> None:
    set_weights(past.engine, first_model(past.engine), b"no safetensors")

    answer = type_("backfill", "--from", SINCE.isoformat(), "--to", UNTIL.isoformat())
    again = type_("backfill", "--from", SINCE.isoformat(), "--to", UNTIL.isoformat())

    assert answer.status == 1
    assert f"failed: {SECOND} ticks" in answer.data
    assert again.status == 0
    assert f"{SECOND} failed before (retry with --reprocess failed)" in again.data


def test_where_there_was_too_little_to_learn_from_the_next_model_goes_on(
    engine: Engine, folder: Path
) -> None:
    young = furnish(engine, folder)
    since = NEWEST - 330 * HOUR
    wanted = BackfillRequest(since=since, until=since + 119 * HOUR, retrain_every=Step.parse("60h"))

    report = run(work_of(young), wanted)

    assert len(report.trained) == 1
    assert (report.ticks, [failure.ticks for failure in report.failures]) == (60, [60])
    assert "no observations" in report.failures[0].error
