"""What is said in hindsight is marked beside its status: of a network, of a new series, naive."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from forecaster.config.settings import RetentionConfig
from jobs.backfill.plan import BackfillRequest
from jobs.backfill.report import BackfillReport
from jobs.backfill.run import Work, run
from jobs.execution.reports import ForecastReport
from tests.jobs.fitting import fit_once
from tests.jobs.small import DATASET, LAST, World, fixed, hour, land, query, rows

pytestmark = pytest.mark.quick_on("sqlite")

GUARDED = replace(DATASET, training=replace(DATASET.training, naive_guard=True))
TICK = hour(LAST - 5)
STATUSES = "SELECT DISTINCT series_id, status FROM all_forecasts WHERE hindsight ORDER BY series_id"


@pytest.fixture
def newcomer(trained: World) -> World:
    """A model, and a series that it was not trained on."""
    land(trained.engine, rows("new", 0, LAST))
    return trained


@pytest.fixture
def naive(world: World) -> World:
    """A model that gave way to a naive forecast."""
    world.dataset = GUARDED
    world.tick("retrain", hour(LAST))
    return world


def late_tick(world: World) -> ForecastReport:
    report = world.tick("forecast", TICK, now=hour(LAST)).report
    assert isinstance(report, ForecastReport)
    return report


def backfill(world: World) -> BackfillReport:
    work = Work(
        engine=world.engine,
        dataset=world.dataset,
        retention=RetentionConfig(),
        fit=fit_once,
        clock=fixed(hour(LAST) + timedelta(seconds=1)),
    )
    return run(work, BackfillRequest(since=TICK, until=TICK, model="1"))


Way = Callable[[World], ForecastReport | BackfillReport]
both_ways = pytest.mark.parametrize("say", [late_tick, backfill])


@both_ways
def test_a_new_series_is_a_cold_start_in_hindsight_too(newcomer: World, say: Way) -> None:
    report = say(newcomer)

    assert (report.statuses, report.hindsight) == ({"ok": 2, "cold_start": 1}, 3)
    assert query(newcomer.engine, STATUSES) == [
        ("a", "ok"), ("b/c", "ok"), ("new", "cold_start")
    ]  # fmt: skip


@both_ways
def test_a_naive_forecast_is_one_in_hindsight_too(naive: World, say: Way) -> None:
    report = say(naive)

    assert (report.statuses, report.hindsight) == ({"fallback_naive": 2}, 2)
    assert query(naive.engine, STATUSES) == [("a", "fallback_naive"), ("b/c", "fallback_naive")]


@both_ways
def test_what_is_said_in_hindsight_is_neither_the_latest_nor_shown_in_parts(
    newcomer: World, say: Way
) -> None:
    say(newcomer)

    for view in ("latest_forecasts", "forecast_parts", "forecast_vs_actual"):
        assert query(newcomer.engine, f"SELECT * FROM {view}") == [], view
    assert query(newcomer.engine, "SELECT * FROM all_forecasts WHERE NOT hindsight") == []


def test_what_is_said_in_time_is_not_marked(trained: World) -> None:
    report = trained.tick("forecast", hour(LAST)).report

    assert isinstance(report, ForecastReport)
    assert (report.statuses, report.hindsight) == ({"ok": 2}, 0)
    assert query(trained.engine, "SELECT DISTINCT hindsight FROM latest_forecasts") == [(False,)]
