"""The boundary around a job: whatever happens is recorded and said once, and nothing gets out."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import polars as pl
import pytest
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DatabaseUnavailable, DataError
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.state import run_history, runs
from forecaster.store.state.run_history import Run
from forecaster.times.schedules import Every
from jobs.execution.attempt import Attempt
from jobs.execution.job import Job
from jobs.execution.reports import PruneReport, document
from jobs.execution.runner import Outcome, run_job
from tests.jobs.small import DATASET, HOUR, World, fixed, hour

pytestmark = pytest.mark.quick_on("sqlite")

NOW = hour(5)


def job(run: object) -> Job:
    return Job(name="prune", schedule=lambda _: Every(HOUR), run=run, group="prune")  # type: ignore[arg-type]


def outcome_of(run: object, engine: Engine, told: list[Outcome] | None = None) -> Outcome:
    observe = (told if told is not None else []).append
    return run_job(job(run), engine, DATASET, tick=NOW, clock=fixed(NOW), observe=observe)


def recorded(engine: Engine) -> Run:
    with reading(engine) as conn:
        found = run_history.latest(conn, "prune", DATASET.name)
    assert found is not None
    return found


def succeed(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
    report = PruneReport(dataset=dataset.name, tick=attempt.tick, deleted={"forecasts": 3})
    with engine.begin() as conn:
        runs.finish(conn, attempt.claim, now=attempt.clock(), report=document(report))
    return report


def fail(*_: object) -> NoReturn:
    raise DataError("rows must be sorted, found chaos", hint="sort them")


def crash(*_: object) -> NoReturn:
    raise ZeroDivisionError("a bug")


def panic(*_: object) -> NoReturn:
    """Read what PostgreSQL calls -infinity as a Python object: Rust panics, no Exception."""
    pl.Series([-(2**63)]).cast(pl.Datetime("us", "UTC")).to_list()
    raise AssertionError


def test_one_fact_three_views(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[Outcome] = []

    outcome = outcome_of(succeed, engine, told)

    assert told == [outcome]
    assert (outcome.result, outcome.error) == ("succeeded", None)
    assert recorded(engine).report == document(outcome.report)
    assert "prune done dataset=bikes tick=2026-01-01T05:00:00+00:00" in caplog.text
    assert "deleted.forecasts=3" in caplog.text


def test_a_failure_is_recorded_and_said_with_its_hint(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = outcome_of(fail, engine)

    run = recorded(engine)
    assert outcome.result == "failed"
    assert (run.state, run.error, run.hint) == (
        "failed", "rows must be sorted, found chaos", "sort them",
    )  # fmt: skip
    assert 'error="rows must be sorted, found chaos" hint="sort them"' in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.fault(37)
@pytest.mark.parametrize("bug", [crash, panic])
def test_a_bug_is_logged_with_its_traceback_and_does_not_get_out(
    bug: object, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = outcome_of(bug, engine)

    assert outcome.result == "crashed"
    assert recorded(engine).state == "failed"
    assert "prune crashed" in caplog.text
    assert "Traceback" in caplog.text
    assert outcome_of(succeed, engine).result == "succeeded"


def test_an_interrupt_gets_out_and_the_tick_is_run_again(engine: Engine) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outcome_of(interrupt, engine)

    assert (recorded(engine).state, recorded(engine).error) == ("failed", "interrupted")
    assert outcome_of(succeed, engine).result == "succeeded"
    assert recorded(engine).attempt == 2


def test_an_attempt_that_was_taken_over_writes_nothing(engine: Engine) -> None:
    def slow(engine: Engine, dataset: DatasetConfig, attempt: Attempt) -> PruneReport:
        assert outcome_of(succeed, engine).result == "succeeded"
        return succeed(engine, dataset, attempt)

    outcome = outcome_of(slow, engine)

    assert outcome.result == "already_done"
    assert (recorded(engine).state, recorded(engine).attempt) == ("succeeded", 2)


@pytest.mark.fault(3)
def test_a_commit_that_succeeded_after_all_is_not_marked_failed(engine: Engine) -> None:
    def commit_and_lose_the_connection(
        engine: Engine, dataset: DatasetConfig, attempt: Attempt
    ) -> PruneReport:
        succeed(engine, dataset, attempt)
        raise ConnectionResetError

    outcome_of(commit_and_lose_the_connection, engine)

    assert recorded(engine).state == "succeeded"
    assert outcome_of(succeed, engine).result == "already_done"


@pytest.mark.fault(30)
def test_a_database_that_is_down_is_an_outcome_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = open_engine("postgresql://nobody:secret@127.0.0.1:1/nowhere")

    outcome = outcome_of(succeed, engine)

    assert outcome.result == "failed"
    assert "127.0.0.1" in caplog.text
    assert "secret" not in caplog.text


def test_two_datasets_have_ticks_of_their_own(engine: Engine) -> None:
    outcome_of(succeed, engine)

    other = World(engine=engine, dataset=replace(DATASET, name="trains")).tick("prune", NOW)

    assert other.result == "succeeded"


def test_a_claim_that_takes_too_long_is_an_outage_and_leaves_no_row(
    sqlite_url: str, migrate: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(sqlite_url)
    monkeypatch.setattr("jobs.execution.runner.RECORD_WITHIN", timedelta(seconds=0.2))
    engine, other = open_engine(sqlite_url), open_engine(sqlite_url)
    with writing(other):
        outcome = outcome_of(succeed, engine)

    assert outcome.result == "failed"
    assert isinstance(outcome.error, DatabaseUnavailable)
    with reading(engine) as conn:
        assert run_history.latest(conn, "prune", DATASET.name) is None
    for each in (engine, other):
        each.dispose()
