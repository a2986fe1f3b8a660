"""A service with nothing to do asks next to nothing, and still notices what others do.

The slowest ones set up twenty datasets and count what two simulated minutes ask.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, delete, update

from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import activity, models, runs
from jobs.execution.job import Job
from jobs.execution.runner import Outcome
from jobs.scheduling import catch_up
from jobs.scheduling.backoff import LONGEST_OUTAGE, Backoff
from jobs.scheduling.idle import FRESH, LONGEST, ActivityCounters
from jobs.service.activity_poll import EVERY
from tests.jobs.service.idle import Idle, idling, statements
from tests.jobs.small import LAST, hour
from tests.store.samples import add_model

pytestmark = pytest.mark.quick_on("postgres")

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


def asks(idle: Idle, counted, group: str) -> bool:  # type: ignore[no-untyped-def]
    """Tell whether a group asks the database when its timer fires now."""
    return statements(counted, partial(idle.fire, [f"{group}:{NAME}"])) > 0


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
        idle.timers.clear()  # only news, nothing is done about them here
        idle.pass_time(int(EVERY) + 5)

        assert (before, unnoticed) == (False, False)
        assert NAME in set().union(*idle.news)


def test_what_others_did_has_a_lane_look_again(engine: Engine, database_url: str) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        promote(engine)
        idle.around.counters.update({})

        assert asks(idle, counted, "prune")
        assert not asks(idle, counted, "prune")


def test_a_tick_that_comes_due_is_looked_at_at_once(engine: Engine, database_url: str) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        idle.seconds = timedelta(hours=30).total_seconds()
        idle.replica._poll()
        idle.outlook.poll(idle.config.datasets)

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
            idle.outlook.poll(idle.config.datasets)

        assert fence is not None
        assert asks(idle, counted, "prune")


def test_a_model_of_our_own_wakes_the_forecasts_at_once(engine: Engine, database_url: str) -> None:
    with idling(engine, database_url, 1) as (idle, counted):
        idle.groups._idleness.forget(NAME, ["forecast"])

        assert asks(idle, counted, "forecast")
        assert not asks(idle, counted, "forecast")


def pause(idle: Idle, job: str) -> Backoff:
    return idle.around.job_states[job, NAME].backoff


@pytest.mark.parametrize("is_before", [True, False], ids=["before it began", "while it went on"])
def test_a_look_during_which_a_pause_ended_is_followed_by_another(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, is_before: bool
) -> None:
    """The job that was paused found nothing out, and the next one of its group took longer."""
    with idling(engine, database_url, 1) as (idle, _):
        if is_before:
            pause(idle, "forecast").extend(is_outage=True)
        look = idle.groups._idleness.begin("forecast", NAME, 1, [hour(LAST)])
        if not is_before:
            pause(idle, "forecast").extend(is_outage=True)
        later = time.monotonic() + LONGEST_OUTAGE
        monkeypatch.setattr(time, "monotonic", lambda: later)
        idle.groups._idleness.end(look)
        again = idle.groups._idleness.begin("forecast", NAME, 1, [hour(LAST)])

        assert pause(idle, "forecast").remaining() == 0
        assert not idle.groups._idleness.is_idle(again)
        idle.groups._idleness.end(again)
        assert idle.groups._idleness.is_idle(again)


def test_a_job_does_not_wait_for_the_pause_of_another_one(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with idling(engine, database_url, 1) as (idle, _):
        look = idle.groups._idleness.begin("forecast", NAME, 1, [hour(LAST)])
        pause(idle, "forecast").extend(is_outage=True)
        for _ in range(6):
            pause(idle, "score").extend(is_outage=False)
        idle.groups._idleness.end(look)
        assert idle.groups._idleness.is_idle(look)
        later = time.monotonic() + LONGEST_OUTAGE
        monkeypatch.setattr(time, "monotonic", lambda: later)

        assert pause(idle, "score").remaining() > 0
        again = idle.groups._idleness.begin("forecast", NAME, 1, [hour(LAST)])
        assert not idle.groups._idleness.is_idle(again)


def test_a_forecast_that_a_database_hiccup_delayed_is_made_after_the_pause(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring in the pause runs the score job; the pause is over when that has ended."""
    with idling(engine, database_url, 1) as (idle, _):
        ran: list[str] = []

        def run(job: Job, *_: object, tick: datetime, **__: object) -> Outcome:
            ran.append(job.name)
            later = time.monotonic() + LONGEST_OUTAGE
            monkeypatch.setattr(time, "monotonic", lambda: later)
            now = hour(LAST)
            with writing(engine) as conn:
                claim = runs.claim(conn, job.name, NAME, tick, now, 1)
                runs.finish(conn, claim, now=now, report={})
            return Outcome(
                job=job.name,
                dataset=NAME,
                tick=tick,
                result="succeeded",
                started_at=now,
                ended_at=now,
                seconds=0.0,
            )

        monkeypatch.setattr(catch_up, "run_job", run)
        idle.seconds = timedelta(hours=1).total_seconds()
        idle.replica._renewed_at = idle.seconds
        idle.replica._poll()
        idle.outlook.poll(idle.config.datasets)
        pause(idle, "forecast").extend(is_outage=True)  # the look before this one failed
        for _ in range(2):
            idle.fire([f"forecast:{NAME}"])

    assert ran == ["score", "forecast"]


def test_the_first_news_has_every_lane_look_again(engine: Engine, database_url: str) -> None:
    """What happened between the first look of a group and the first news is in neither."""
    with idling(engine, database_url, 1):
        news = ActivityCounters()
        before = news.version(NAME)
        with reading(engine) as conn:
            changed = news.update(activity.read(conn).marks)

    assert changed == {NAME}
    assert news.version(NAME) != before
