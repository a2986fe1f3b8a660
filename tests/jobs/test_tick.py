"""Whole ticks on both stores: seed, retrain, forecast."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from forecaster.errors import InsufficientHistory, NoChampion, TickAlreadyDone
from forecaster.times.schedules import Every
from jobs.execution.reports import ForecastReport, RetrainReport
from tests.jobs.small import DATASET, HORIZON, HOUR, LAST, SCALE, World, hour, land, query, rows
from tests.tolerance import RELATIVE, within

pytestmark = pytest.mark.quick_on("postgres")


def everything(engine: Engine) -> list[list[tuple[object, ...]]]:
    tables = ("forecasts", "attention", "attention_patches", "runs", "watermarks", "accuracy")
    return [sorted(query(engine, f"SELECT * FROM {table}"), key=repr) for table in tables]


@pytest.mark.numeric
def test_a_tick_writes_every_forecast_and_what_it_attended_to(trained: World) -> None:
    outcome = trained.tick("forecast", hour(LAST))

    report = outcome.report
    assert isinstance(report, ForecastReport)
    assert (report.series, report.rows, report.skipped) == (2, 2 * HORIZON, {})
    assert report.cutoff == report.newest_observation == hour(LAST)
    assert list(report.stages) == ["pull", "read", "predict", "write"]
    found = query(
        trained.engine, "SELECT dataset, series_id, count(*) FROM latest_forecasts GROUP BY 1, 2"
    )
    assert sorted(found) == [("bikes", "a", HORIZON), ("bikes", "b/c", HORIZON)]
    shares = query(
        trained.engine,
        "SELECT sum(weight) FROM forecast_attention GROUP BY series_id, cutoff, step_from",
    )
    assert [share for (share,) in shares] == pytest.approx([1.0] * len(shares), rel=RELATIVE)
    assert len(shares) == report.attention_rows > 0
    parts = query(
        trained.engine,
        "SELECT level + copied + last_value + residual + adjustment - q50 FROM forecast_parts "
        "JOIN all_forecasts USING (series_id, cutoff, model_id, step)",
    )
    assert [gap for (gap,) in parts] == pytest.approx([0.0] * 2 * HORIZON, abs=within(SCALE))


def test_a_tick_that_was_done_is_not_done_again(
    trained: World, caplog: pytest.LogCaptureFixture
) -> None:
    trained.tick("forecast", hour(LAST))
    before = everything(trained.engine)
    caplog.set_level(logging.INFO)

    again = trained.tick("forecast", hour(LAST))

    assert again.result == "already_done"
    assert isinstance(again.error, TickAlreadyDone)
    assert "already done, nothing written" in caplog.text
    assert everything(trained.engine) == before


def test_without_a_champion_a_forecast_fails_and_says_what_to_do(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = world.tick("forecast", hour(LAST))

    assert outcome.result == "failed"
    assert isinstance(outcome.error, NoChampion)
    assert "forecaster retrain" in str(outcome.error.hint)
    assert "forecaster retrain" in caplog.text
    assert query(world.engine, "SELECT state, attempt FROM runs") == [("failed", 1)]


def test_a_tick_that_failed_can_be_run_again(world: World) -> None:
    world.tick("forecast", hour(LAST))
    world.tick("retrain", hour(LAST))

    outcome = world.tick("forecast", hour(LAST))

    assert outcome.result == "succeeded"
    states = query(world.engine, "SELECT state, attempt FROM runs WHERE job = 'forecast'")
    assert states == [("succeeded", 2)]


@pytest.mark.fault(11)
def test_a_sick_series_is_skipped_and_the_others_are_forecast(trained: World) -> None:
    land(
        trained.engine,
        rows("a", LAST + 1, LAST + 48),
        rows("new", LAST, LAST + 48),
        rows("young", LAST + 48, LAST + 48),
    )

    report = trained.tick("forecast", hour(LAST + 48)).report

    assert isinstance(report, ForecastReport)
    assert report.skipped_series == {"b/c": "stale", "young": "too_short"}
    assert report.skipped == {"stale": 1, "too_short": 1}
    assert report.statuses == {"ok": 1, "cold_start": 1}


def test_nothing_after_the_tick_is_known_at_the_tick(trained: World) -> None:
    trained.tick("forecast", hour(LAST))
    before = query(trained.engine, "SELECT * FROM latest_forecasts ORDER BY series_id, step")
    land(trained.engine, rows("a", LAST + 1, LAST + 9), rows("b/c", LAST + 1, LAST + 9))

    again = World(engine=trained.engine, dataset=replace(DATASET, delay=timedelta(minutes=59)))
    report = again.tick("forecast", hour(LAST + 1), now=hour(LAST + 9)).report

    assert isinstance(report, ForecastReport)
    assert report.cutoff == report.newest_observation == hour(LAST)
    after = query(trained.engine, "SELECT * FROM latest_forecasts ORDER BY series_id, step")
    assert after == before


def test_a_model_that_saw_the_future_forecasts_in_hindsight(trained: World) -> None:
    report = trained.tick("forecast", hour(LAST - 5), now=hour(LAST)).report

    assert isinstance(report, ForecastReport)
    assert (report.statuses, report.hindsight) == ({"ok": 2}, 2)
    assert query(trained.engine, "SELECT * FROM latest_forecasts") == []


def test_ticks_that_share_a_cutoff_say_each_thing_once(trained: World) -> None:
    quarterly = replace(DATASET, forecast_schedule=Every(HOUR / 4))
    world = World(engine=trained.engine, dataset=quarterly)
    first = world.tick("forecast", hour(LAST)).report
    land(trained.engine, rows("late", 0, LAST))

    second = world.tick("forecast", hour(LAST) + HOUR / 4).report
    third = world.tick("forecast", hour(LAST) + HOUR / 2).report

    assert isinstance(first, ForecastReport)
    assert isinstance(second, ForecastReport)
    assert isinstance(third, ForecastReport)
    assert first.cutoff == second.cutoff == third.cutoff
    assert [first.series, second.series, third.series] == [2, 1, 0]
    assert query(trained.engine, "SELECT count(*) FROM latest_forecasts") == [(3 * HORIZON,)]


def test_a_model_trained_between_two_ticks_has_not_seen_the_future_of_the_first(
    world: World,
) -> None:
    land(world.engine, rows("a", LAST + 1, LAST + 1), rows("b/c", LAST + 1, LAST + 1))
    late = replace(world.dataset, delay=HOUR / 4)
    between = World(engine=world.engine, dataset=late)

    between.tick("retrain", hour(LAST + 1) + HOUR / 2)
    report = between.tick("forecast", hour(LAST + 1)).report

    assert isinstance(report, ForecastReport)
    assert report.cutoff == hour(LAST)
    assert report.statuses == {"ok": 2}


@pytest.mark.numeric
def test_bounds_hold_for_every_quantile(trained: World) -> None:
    bounded = replace(DATASET, lower_bound=15.0, upper_bound=25.0)

    World(engine=trained.engine, dataset=bounded).tick("forecast", hour(LAST))

    found = query(trained.engine, "SELECT min(q025), max(q975) FROM latest_forecasts")
    assert found == [(pytest.approx(15.0, rel=RELATIVE), pytest.approx(25.0, rel=RELATIVE))]


def test_retraining_puts_the_new_model_in_service(trained: World) -> None:
    first = trained.outcomes[-1].report
    land(trained.engine, rows("a", LAST + 1, LAST + 24), rows("b/c", LAST + 1, LAST + 24))

    second = trained.tick("retrain", hour(LAST + 24)).report
    forecast = trained.tick("forecast", hour(LAST + 24)).report

    assert isinstance(first, RetrainReport)
    assert isinstance(second, RetrainReport)
    assert isinstance(forecast, ForecastReport)
    assert forecast.model_id == second.model_id != first.model_id
    assert (second.series, second.season_length, second.steps) == (2, 24, 4)
    assert second.trained_to == hour(LAST + 24)
    assert set(second.scores) >= {"mase", "seasonal_naive_mase", "wql", "coverage_80"}
    parents = query(trained.engine, "SELECT parent_id FROM models ORDER BY id")
    assert parents == [(None,), (first.model_id,)]


def test_retraining_on_nothing_fails_and_keeps_the_champion(engine: Engine) -> None:
    world = World(engine=engine)

    outcome = world.tick("retrain", hour(LAST))

    assert outcome.result == "failed"
    assert isinstance(outcome.error, InsufficientHistory)
