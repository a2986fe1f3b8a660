"""What happened to all datasets is seen in one statement, whatever there is."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from forecaster.errors import StoreError
from forecaster.store.connection.engine import autocommit, open_engine, writing
from forecaster.store.maintenance import migrations
from forecaster.store.state import activity, models, runs
from forecaster.store.state.activity import Unfinished
from tests.statements import Statements
from tests.store.samples import add_model

TICK = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def seen(engine: Engine) -> activity.Activity:
    with autocommit(engine) as conn:
        return activity.read(conn)


def test_an_empty_database_has_a_revision_and_no_datasets(engine: Engine) -> None:
    found = seen(engine)

    assert (found.revision, found.marks) == (migrations.head(), {})


def test_champions_newest_ticks_and_what_is_unfinished_are_seen(engine: Engine) -> None:
    with writing(engine) as conn:
        model = add_model(conn, "cars")
        models.promote(conn, "cars", model, now=TICK, reason="test")
        done = runs.claim(conn, "forecast", "bikes", TICK, TICK)
        runs.finish(conn, done, now=TICK, report={})
        failed = runs.claim(conn, "forecast", "bikes", TICK - HOUR, TICK)
        runs.fail(conn, failed, now=TICK, error="no")
        running = runs.claim(conn, "retrain", "bikes", TICK + HOUR, TICK)
        runs.note_progress(conn, running, 0.5)

    found = seen(engine).marks

    assert (found["bikes"].champion, found["cars"].champion) == (None, model)
    assert found["bikes"].newest == {"forecast": TICK, "retrain": TICK + HOUR}
    assert found["bikes"].unfinished == {
        Unfinished(run_id=failed.run_id, job="forecast", attempt=1, state="failed", progress=None),
        Unfinished(run_id=running.run_id, job="retrain", attempt=1, state="running", progress=0.5),
    }


def test_all_of_that_is_one_statement(engine: Engine) -> None:
    with writing(engine) as conn:
        for name in ("bikes", "cars", "trams"):
            runs.claim(conn, "forecast", name, TICK, TICK)

    with Statements(engine) as counted:
        seen(engine)
        before = counted.count()
        for _ in range(10):
            seen(engine)
        after = counted.count()

    asks_for_life = engine.dialect.name == "postgresql"
    assert after - before == 10 * (1 + asks_for_life)


def test_a_database_without_tables_is_refused(database_url: str) -> None:
    engine = open_engine(database_url)

    with pytest.raises(StoreError):
        seen(engine)

    engine.dispose()
