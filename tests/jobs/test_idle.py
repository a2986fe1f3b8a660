"""A service with nothing to do asks next to nothing, and still notices what others do.

The slowest ones set up twenty datasets and count what two simulated minutes ask.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, delete, update

from forecaster.store import models, runs, tables
from forecaster.store.engine import writing
from jobs.idleness import FRESH, LONGEST
from jobs.outlook import EVERY
from tests.jobs.idle import Idle, idling, statements
from tests.jobs.small import LAST, hour
from tests.store.samples import add_model

PERIOD = 120
NAME = "dataset-0"


@pytest.mark.parametrize("count", [1, 20])
def test_an_idle_service_runs_less_than_a_statement_a_second(
    engine: Engine, database_url: str, count: int
) -> None:
    with idling(engine, database_url, count) as (idle, counted):
        found = statements(counted, partial(idle.pass_time, PERIOD))

    assert found / PERIOD < 1 + 0.05 * count
    assert found / PERIOD < 1  # nothing is asked for each dataset while nothing is due


def asks(idle: Idle, counted, lane: str) -> bool:  # type: ignore[no-untyped-def]
    """Tell whether a lane asks the database when its alarm rings now."""
    return statements(counted, partial(idle.ring, [f"{lane}:{NAME}"])) > 0


def promote(engine: Engine) -> None:
    with writing(engine) as conn:
        models.promote(conn, NAME, add_model(conn, NAME), now=hour(LAST), reason="by hand")


def retire(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(update(tables.models).values(retired_at=hour(LAST)))


def fail(engine: Engine) -> None:
    with writing(engine) as conn:
        claim = runs.claim(conn, "forecast", NAME, hour(LAST - 1), hour(LAST))
        runs.fail(conn, claim, now=hour(LAST), error="by hand")


def restore(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(delete(tables.runs).where(tables.runs.c.job == "forecast"))


@pytest.mark.parametrize("act", [promote, retire, fail, restore])
def test_what_others_do_is_noticed_in_time(
    engine: Engine, database_url: str, act: Callable[[Engine], None]
) -> None:
    with idling(engine, database_url, 2) as (idle, counted):
        before = asks(idle, counted, "prune")
        act(engine)
        unnoticed = asks(idle, counted, "prune")
        idle.alarms.clear()  # only news, nothing is done about them here
        idle.pass_time(int(EVERY) + 5)

        assert (before, unnoticed) == (False, False)
        assert NAME in set().union(*idle.news)


def test_what_others_did_has_a_lane_look_again(engine: Engine, database_url: str) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        promote(engine)
        idle.around.news.hear({})

        assert asks(idle, counted, "prune")
        assert not asks(idle, counted, "prune")


def test_a_tick_that_comes_due_is_looked_at_at_once(engine: Engine, database_url: str) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        idle.seconds = timedelta(hours=30).total_seconds()
        idle.replica._beat()
        idle.outlook.look(idle.config.datasets)

        assert asks(idle, counted, "prune")


def test_another_token_has_all_lanes_look(engine: Engine, database_url: str) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        with writing(engine) as conn:
            conn.execute(update(tables.leases).values(holder="them", token=7))
            conn.execute(update(tables.leases).values(holder=""))
        idle.pass_time(7)

        assert idle.replica.lease_of(NAME).token == 8  # type: ignore[union-attr]
        assert asks(idle, counted, "prune")


@pytest.mark.parametrize("seconds", [FRESH + 1, LONGEST + 1])
def test_without_news_or_after_long_every_lane_looks_by_itself(
    engine: Engine, database_url: str, seconds: float
) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        fence = idle.replica.lease_of(NAME)
        idle.seconds += seconds
        idle.replica._renewed_at = idle.seconds
        if seconds > LONGEST:
            idle.outlook.look(idle.config.datasets)

        assert fence is not None
        assert asks(idle, counted, "prune")


def test_a_model_of_our_own_wakes_the_forecasts_at_once(engine: Engine, database_url: str) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        idle.lanes._idleness.forget(NAME, ["forecast"])

        assert asks(idle, counted, "forecast")
        assert not asks(idle, counted, "forecast")
