import threading
from datetime import datetime
from functools import partial

import pytest
from sqlalchemy import Engine

from forecaster.errors import TickAlreadyDone, TickTakenOver
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from forecaster.store.state import run_history, runs, watermarks
from forecaster.store.state.run_history import Run
from forecaster.store.state.runs import RunClaim
from tests.store.samples import HOUR, START, observed


def claim(engine: Engine, tick: datetime = START, *, now: datetime = START) -> RunClaim:
    with writing(engine) as conn:
        return runs.claim(conn, "forecast", "bikes", tick, now)


def finish(engine: Engine, claimed: RunClaim, *, rows: int = 3) -> None:
    with writing(engine) as conn:
        runs.finish(conn, claimed, now=START + HOUR, report={"rows": rows})


def fail(engine: Engine, claimed: RunClaim) -> None:
    with writing(engine) as conn:
        runs.fail(conn, claimed, now=START + HOUR, error="no data", hint="wait")


def latest(engine: Engine) -> Run | None:
    with reading(engine) as conn:
        return run_history.latest(conn, "forecast", "bikes")


def test_a_tick_that_is_done_cannot_be_claimed_again(engine: Engine) -> None:
    finish(engine, claim(engine))

    with pytest.raises(
        TickAlreadyDone, match=r"tick 2026-11-20T09:00:00\+00:00 already done, nothing written"
    ):
        claim(engine)


def test_a_finished_run_tells_what_it_did(engine: Engine) -> None:
    claimed = claim(engine, now=START + HOUR / 2)

    finish(engine, claimed)

    assert latest(engine) == Run(
        run_id=claimed.run_id,
        job="forecast",
        dataset="bikes",
        tick=START,
        state="succeeded",
        attempt=1,
        started_at=START + HOUR / 2,
        finished_at=START + HOUR,
        report={"rows": 3},
        error=None,
        hint=None,
    )


def test_a_run_may_tell_of_text_that_a_database_does_not_keep(engine: Engine) -> None:
    done, failed = claim(engine), claim(engine, START + HOUR)

    with writing(engine) as conn:
        runs.finish(conn, done, now=START, report={"example": ["key=a\0b"]})
        runs.fail(conn, failed, now=START, error="found a\0b")

    with reading(engine) as conn:
        last, first = run_history.list_runs(conn, "bikes")
    assert first.report == {"example": ["key=a\u2400b"]}
    assert last.error == "found a\u2400b"


def test_a_failed_run_is_tried_again_and_forgets_the_failure(engine: Engine) -> None:
    fail(engine, claim(engine))
    failed = latest(engine)

    again = claim(engine)
    running = latest(engine)

    assert failed is not None
    assert (failed.state, failed.error, failed.hint) == ("failed", "no data", "wait")
    assert again.attempt == 2
    assert running is not None
    assert (running.state, running.error, running.finished_at) == ("running", None, None)


def test_the_later_attempt_wins_and_the_earlier_one_writes_nothing(engine: Engine) -> None:
    def land_and_finish(claimed: RunClaim, value: float) -> None:
        with writing(engine) as conn:
            frame = observed({"a": [value]})
            observations.ingest(conn, "bikes", frame, recorded_at=START)
            runs.finish(conn, claimed, now=START, report={})

    stale, newest = claim(engine), claim(engine)

    with pytest.raises(TickTakenOver, match="nothing written"):
        land_and_finish(stale, 1.0)
    land_and_finish(newest, 2.0)

    with reading(engine) as conn:
        assert observations.read(conn, "bikes")["value"].to_list() == [2.0]


def test_a_failure_does_not_touch_a_run_that_was_taken_over_or_done(engine: Engine) -> None:
    stale, newest = claim(engine), claim(engine)

    fail(engine, stale)
    finish(engine, newest)
    fail(engine, newest)

    found = latest(engine)
    assert found is not None
    assert found.state == "succeeded"


def test_a_run_cannot_finish_twice(engine: Engine) -> None:
    claimed = claim(engine)
    finish(engine, claimed)

    with pytest.raises(TickTakenOver):
        finish(engine, claimed)


def test_of_many_who_finish_one_tick_at_once_one_does(engine: Engine) -> None:
    outcomes: list[str] = []

    def tick(rows: int) -> None:
        try:
            finish(engine, claim(engine), rows=rows)
            outcomes.append("done")
        except (TickAlreadyDone, TickTakenOver) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=partial(tick, rows)) for rows in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 8
    assert outcomes.count("done") == 1


def test_missed_ticks_are_recorded_once_and_can_be_run_later(engine: Engine) -> None:
    finish(engine, claim(engine))
    ticks = [START + hour * HOUR for hour in range(3)]

    with writing(engine) as conn:
        first = runs.record_missed(conn, "forecast", "bikes", ticks, START + 9 * HOUR)
        again = runs.record_missed(conn, "forecast", "bikes", ticks, START + 9 * HOUR)
    later = claim(engine, START + HOUR)

    assert (first, again, later.attempt) == (2, 0, 1)
    with reading(engine) as conn:
        states = [run.state for run in run_history.list_runs(conn, "bikes")]
    assert states == ["missed", "running", "succeeded"]


def test_unfinished_runs_are_those_that_started_and_did_not_succeed(engine: Engine) -> None:
    for hour in range(4):
        claimed = claim(engine, START + hour * HOUR)
        if hour == 1:
            finish(engine, claimed)
        if hour == 2:
            fail(engine, claimed)
    with writing(engine) as conn:
        runs.record_missed(conn, "forecast", "bikes", [START + 9 * HOUR], START)
        runs.claim(conn, "score", "bikes", START, START)
        runs.claim(conn, "forecast", "cars", START, START)

    with reading(engine) as conn:
        found = run_history.unfinished(conn, "forecast", "bikes")
        done = run_history.latest(conn, "forecast", "bikes", state="succeeded")

    assert [run.tick for run in found] == [START, START + 2 * HOUR, START + 3 * HOUR]
    assert done is not None
    assert done.tick == START + HOUR


def test_runs_are_listed_newest_first_and_by_job(engine: Engine) -> None:
    for hour in range(3):
        claim(engine, START + hour * HOUR)
    with writing(engine) as conn:
        runs.claim(conn, "score", "bikes", START, START)

    with reading(engine) as conn:
        newest = run_history.list_runs(conn, "bikes", job="forecast", limit=2)
        everything = run_history.list_runs(conn, "bikes")

    assert [run.tick for run in newest] == [START + 2 * HOUR, START + HOUR]
    assert len(everything) == 4


def test_old_runs_are_deleted_unless_they_run(engine: Engine) -> None:
    finish(engine, claim(engine))
    claim(engine, START + HOUR)
    finish(engine, claim(engine, START + 2 * HOUR))

    with writing(engine) as conn:
        deleted = runs.delete_before(conn, "bikes", START + 2 * HOUR)

    with reading(engine) as conn:
        left = [(run.tick, run.state) for run in run_history.list_runs(conn, "bikes")]
    assert deleted == 1
    assert left == [(START + 2 * HOUR, "succeeded"), (START + HOUR, "running")]


def test_the_newest_run_and_the_newest_success_of_a_job_are_kept(engine: Engine) -> None:
    for hour in range(4):
        claimed = claim(engine, START + hour * HOUR)
        finish(engine, claimed) if hour < 2 else fail(engine, claimed)
    with writing(engine) as conn:
        runs.claim(conn, "score", "bikes", START + 5 * HOUR, START)
        runs.claim(conn, "forecast", "cars", START + 5 * HOUR, START)

        deleted = runs.delete_before(conn, "bikes", START + 9 * HOUR)

    with reading(engine) as conn:
        left = run_history.list_runs(conn, "bikes", job="forecast")
    assert deleted == 2
    assert [(run.tick, run.state) for run in left] == [
        (START + 3 * HOUR, "failed"),
        (START + HOUR, "succeeded"),
    ]


def test_a_watermark_never_moves_back(engine: Engine) -> None:
    with writing(engine) as conn:
        before = watermarks.get(conn, "bikes", "pull")
        watermarks.advance(conn, "bikes", "pull", START, now=START)
        watermarks.advance(conn, "bikes", "pull", START + HOUR, now=START)
        watermarks.advance(conn, "bikes", "score", START + 5 * HOUR, now=START)
        watermarks.advance(conn, "bikes", "pull", START, now=START)

    with reading(engine) as conn:
        assert before is None
        assert watermarks.get(conn, "bikes", "pull") == START + HOUR
        assert watermarks.get(conn, "cars", "pull") is None


def test_an_instant_without_a_zone_is_refused(engine: Engine) -> None:
    naive = START.replace(tzinfo=None)

    with pytest.raises(Exception, match="must have a time zone"), writing(engine) as conn:
        watermarks.advance(conn, "bikes", "pull", naive, now=START)
