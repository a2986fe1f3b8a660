"""Whole ticks on both stores: seed, retrain, forecast, score, prune."""

import logging
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.config import RetentionConfig
from forecaster.errors import InsufficientHistory, NoChampion, TickAlreadyDone
from forecaster.series.accuracy import leads
from jobs.reports import ForecastReport, PruneReport, RetrainReport, ScoreReport
from tests.jobs.small import DATASET, HORIZON, HOUR, World, hour, land, rows

LAST = 400
"""The newest hour that is known at the first tick."""


@pytest.fixture
def world(engine: Engine) -> World:
    land(engine, rows("a", 0, LAST), rows("b/c", 0, LAST))
    return World(engine=engine)


@pytest.fixture
def trained(world: World) -> World:
    world.tick("retrain", hour(LAST))
    return world


def query(engine: Engine, statement: str) -> list[tuple[object, ...]]:
    with engine.connect() as conn:
        return [tuple(row) for row in conn.execute(text(statement))]


def everything(engine: Engine) -> list[list[tuple[object, ...]]]:
    tables = ("forecasts", "attention", "attention_patches", "runs", "watermarks", "accuracy")
    return [sorted(query(engine, f"SELECT * FROM {table}"), key=repr) for table in tables]


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
    assert [share for (share,) in shares] == pytest.approx([1.0] * len(shares), abs=1e-5)
    assert len(shares) == report.attention_rows > 0
    parts = query(
        trained.engine,
        "SELECT level + copied + last_value + residual + adjustment - q50 FROM forecast_parts "
        "JOIN all_forecasts USING (series_id, cutoff, model_id, step)",
    )
    assert [gap for (gap,) in parts] == pytest.approx([0.0] * 2 * HORIZON, abs=1e-4)


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
    assert report.statuses == {"hindsight": 2}
    assert query(trained.engine, "SELECT * FROM latest_forecasts") == []


def test_ticks_that_share_a_cutoff_say_each_thing_once(trained: World) -> None:
    quarterly = replace(DATASET, forecast_every=HOUR / 4)
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


def test_bounds_hold_for_every_quantile(trained: World) -> None:
    bounded = replace(DATASET, lower_bound=15.0, upper_bound=25.0)

    World(engine=trained.engine, dataset=bounded).tick("forecast", hour(LAST))

    found = query(trained.engine, "SELECT min(q025), max(q975) FROM latest_forecasts")
    assert found == [(pytest.approx(15.0, abs=1e-4), pytest.approx(25.0, abs=1e-4))]


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
    assert set(second.scores) == {"mase", "seasonal_naive_mase", "wql", "coverage_80"}
    parents = query(trained.engine, "SELECT parent_id FROM models ORDER BY id")
    assert parents == [(None,), (first.model_id,)]


def test_retraining_on_nothing_fails_and_keeps_the_champion(engine: Engine) -> None:
    world = World(engine=engine)

    outcome = world.tick("retrain", hour(LAST))

    assert outcome.result == "failed"
    assert isinstance(outcome.error, InsufficientHistory)


def score_all(world: World, numbers: range) -> list[ScoreReport]:
    """Score at every hour of `numbers`."""
    reports = [world.tick("score", hour(number)).report for number in numbers]
    return [report for report in reports if isinstance(report, ScoreReport)]


def test_each_lead_of_each_forecast_is_scored_once_when_it_has_matured(trained: World) -> None:
    hours = range(LAST, LAST + HORIZON + 4)
    for number in hours:
        land(trained.engine, rows("a", number, number), rows("b/c", number, number))
        trained.tick("forecast", hour(number))

    reports = score_all(trained, hours)

    matured = [
        lead.step_to - lead.step_from + 1
        for number in hours
        for lead in leads(HORIZON)
        if hour(number + lead.step_to) <= hour(hours[-1]) - DATASET.late_data
    ]
    assert [report.matured_to for report in reports] == [
        hour(number) - DATASET.late_data for number in hours
    ]
    assert sum(report.points for report in reports) == 2 * sum(matured)
    assert sum(report.rows for report in reports) == 2 * len(matured)
    assert [lead.lead for lead in reports[-1].leads] == [lead.name for lead in leads(HORIZON)]
    assert all(lead.seasonal_naive_mase > 0 for lead in reports[-1].leads)


def test_scoring_once_after_an_outage_gives_the_same_accuracy(trained: World) -> None:
    hours = range(LAST, LAST + HORIZON + 4)
    land(trained.engine, rows("a", LAST, hours[-1]), rows("b/c", LAST, hours[-1]))
    for number in hours:
        trained.tick("forecast", hour(number))
    columns = "series_id, cutoff, lead, points, absolute_error, seasonal_naive_error, pinball"
    statement = f"SELECT {columns} FROM accuracy ORDER BY 1, 2, 3"

    score_all(trained, hours)
    every_tick = query(trained.engine, statement)
    with trained.engine.begin() as conn:
        for table in ("accuracy", "runs", "watermarks"):
            conn.execute(text(f"DELETE FROM {table}"))
    score_all(trained, hours[-1:])

    for once, step_by_step in zip(query(trained.engine, statement), every_tick, strict=True):
        assert once[:4] == step_by_step[:4]
        assert once[4:] == pytest.approx(step_by_step[4:], rel=1e-5)


def test_accuracy_is_that_of_the_forecast_against_what_happened(trained: World) -> None:
    trained.tick("forecast", hour(LAST))
    actual = rows("a", LAST + 1, LAST + 1)
    land(trained.engine, actual.with_columns(value=pl.lit(100.0)))
    land(trained.engine, actual.with_columns(value=pl.lit(30.0)))

    trained.tick("score", hour(LAST + 3))

    (median,) = query(
        trained.engine, "SELECT q50 FROM latest_forecasts WHERE series_id = 'a' AND step = 1"
    )[0]
    (found,) = query(
        trained.engine, "SELECT points, absolute_error, seasonal_naive_error, bias FROM accuracy"
    )
    assert isinstance(median, float)
    yesterday = rows("a", LAST - 23, LAST - 23)["value"][0]
    assert found == pytest.approx((1, abs(median - 30), abs(yesterday - 30), median - 30), rel=1e-5)


def test_a_series_off_the_grid_is_scored_like_any_other(engine: Engine) -> None:
    late = [rows(series_id, 0, LAST + 20) for series_id in ("a", "b")]
    late.append(rows("c", 0, LAST + 20).with_columns(pl.col("timestamp") + timedelta(minutes=17)))
    land(engine, *late)
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))

    world.tick("score", hour(LAST + 20))

    found = query(
        engine, "SELECT key, sum(points) FROM accuracy JOIN series ON id = series_id GROUP BY key"
    )
    assert sorted(found) == [(key, HORIZON) for key in "abc"]


def test_what_was_said_in_hindsight_is_not_scored(trained: World) -> None:
    trained.tick("forecast", hour(LAST - HORIZON))

    (report,) = score_all(trained, range(LAST + 9, LAST + 10))

    assert (report.points, report.rows, report.leads) == (0, 0, ())


def test_pruning_deletes_what_is_old(trained: World) -> None:
    trained.tick("forecast", hour(LAST))
    later = World(
        engine=trained.engine,
        retention=RetentionConfig(
            forecasts=24 * HOUR, attention=24 * HOUR, observations=100 * HOUR
        ),
    )

    kept = later.tick("prune", hour(LAST + 24)).report
    pruned = later.tick("prune", hour(LAST + 25)).report

    assert isinstance(kept, PruneReport)
    assert isinstance(pruned, PruneReport)
    assert kept.deleted["forecasts"] == 0
    assert pruned.deleted["forecasts"] == 2 * HORIZON
    assert pruned.deleted["attention"] > 0
    assert pruned.deleted["observations"] == 2
    assert query(trained.engine, "SELECT count(*) FROM forecasts") == [(0,)]
    assert query(trained.engine, "SELECT min(timestamp) FROM observations") != []
