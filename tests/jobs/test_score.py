"""Scores of whole ticks on both stores: what matured is judged once, against what happened."""

import sys
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.data.panel import Panel
from forecaster.errors import StageTimedOut
from forecaster.evaluation.metrics import leads
from forecaster.evaluation.scoring import score_forecasts
from forecaster.store.state import runs
from forecaster.times.durations import Step
from jobs import score
from jobs.execution.reports import ScoreReport
from tests.jobs.small import DATASET, HORIZON, LAST, SCALE, World, hour, land, query, rows
from tests.tolerance import RELATIVE, within

pytestmark = pytest.mark.quick_on("sqlite")

ALL = (
    "SELECT series_id, cutoff, lead, points, absolute_error, seasonal_naive_error, pinball"
    " FROM accuracy ORDER BY 1, 2, 3"
)


def score_all(world: World, numbers: range) -> list[ScoreReport]:
    """Score at every hour of `numbers`."""
    reports = [world.tick("score", hour(number)).report for number in numbers]
    return [report for report in reports if isinstance(report, ScoreReport)]


def require_same(found: list[tuple[object, ...]], expected: list[tuple[object, ...]]) -> None:
    """Assert that two answers to ALL differ by no more than sums in another order do."""
    for one, other in zip(found, expected, strict=True):
        assert one[:4] == other[:4]
        assert one[4:] == pytest.approx(other[4:], rel=RELATIVE, abs=within(SCALE))


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


@pytest.mark.numeric
def test_scoring_once_after_an_outage_gives_the_same_accuracy(trained: World) -> None:
    hours = range(LAST, LAST + HORIZON + 4)
    land(trained.engine, rows("a", LAST, hours[-1]), rows("b/c", LAST, hours[-1]))
    for number in hours:
        trained.tick("forecast", hour(number))

    score_all(trained, hours)
    every_tick = query(trained.engine, ALL)
    with trained.engine.begin() as conn:
        for table in ("accuracy", "runs", "watermarks"):
            conn.execute(text(f"DELETE FROM {table}"))
    score_all(trained, hours[-1:])

    require_same(query(trained.engine, ALL), every_tick)


def test_what_cannot_be_judged_in_time_is_left_to_the_next_ticks(
    trained: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = range(LAST, LAST + HORIZON + 4)
    land(trained.engine, rows("a", LAST, hours[-1] + 9), rows("b/c", LAST, hours[-1] + 9))
    for number in hours:
        trained.tick("forecast", hour(number))
    monkeypatch.setattr(score, "SHARE", 0.0)
    short = score_all(trained, range(hours[-1], hours[-1] + 3))
    monkeypatch.undo()

    (rest,) = score_all(trained, range(hours[-1] + 3, hours[-1] + 4))

    reached = [report.matured_to for report in short]
    assert reached == sorted(set(reached))
    assert all(0 < report.points < rest.points for report in short[1:])
    assert rest.matured_to == hour(hours[-1] + 3) - DATASET.late_data
    alone = query(trained.engine, ALL)
    with trained.engine.begin() as conn:
        for table in ("accuracy", "runs", "watermarks"):
            conn.execute(text(f"DELETE FROM {table}"))
    score_all(trained, range(hours[-1] + 3, hours[-1] + 4))
    require_same(query(trained.engine, ALL), alone)


def test_stretches_that_were_finished_stay_when_a_later_one_takes_too_long(
    trained: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = range(LAST, LAST + HORIZON + 4)
    land(trained.engine, rows("a", LAST, hours[-1]), rows("b/c", LAST, hours[-1]))
    for number in hours:
        trained.tick("forecast", hour(number))
    judged = list[pl.DataFrame]()

    def stuck(said: pl.DataFrame, panel: Panel, **settings: int) -> pl.DataFrame:
        judged.append(said)
        if len(judged) > 1:
            raise StageTimedOut('stage "evaluate" timed out after 1 s')
        return score_forecasts(said, panel, **settings)

    monkeypatch.setattr(score, "score_forecasts", stuck)
    (cut,) = score_all(trained, range(hours[-1], hours[-1] + 1))
    nothing_done = trained.tick("score", hour(hours[-1] + 1))
    monkeypatch.undo()

    (rest,) = score_all(trained, range(hours[-1] + 1, hours[-1] + 2))

    assert isinstance(nothing_done.error, StageTimedOut)
    assert 0 < cut.points < rest.points
    assert cut.matured_to < rest.matured_to


@pytest.mark.parametrize(("attempts", "intervals"), [(1, 2), (2, 1)])
def test_a_backlog_shrinks_by_two_intervals_a_tick_unless_an_attempt_failed(
    trained: World, monkeypatch: pytest.MonkeyPatch, attempts: int, intervals: int
) -> None:
    land(trained.engine, rows("a", LAST, LAST + 20))
    trained.tick("score", hour(LAST + 3))
    monkeypatch.setattr(score, "SHARE", 0.0)
    at = hour(LAST + 20)
    with trained.engine.begin() as conn:
        for _ in range(attempts - 1):
            runs.claim(conn, "score", DATASET.name, at, at)

    (report,) = score_all(trained, range(LAST + 20, LAST + 21))

    assert report.matured_to == hour(LAST + 3 + intervals) - DATASET.late_data


def test_a_forecast_that_is_written_after_newer_ones_were_scored_is_scored_next(
    trained: World,
) -> None:
    last = LAST + 2 * HORIZON
    land(trained.engine, rows("a", LAST, last + 1), rows("b/c", LAST, last + 1))
    trained.tick("forecast", hour(LAST + 1))
    score_all(trained, range(last, last + 1))
    trained.tick("forecast", hour(LAST), now=hour(last) + timedelta(minutes=5))

    late, nothing = score_all(trained, range(last + 1, last + 3))

    assert late.points == 2 * HORIZON
    assert nothing.points == 0


@pytest.mark.numeric
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
    assert found == pytest.approx(
        (1, abs(median - 30), abs(yesterday - 30), median - 30), abs=within(SCALE)
    )


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


def test_forecasts_of_a_plugin_are_scored_after_config_has_forgotten_it(
    world: World, own_attention: str
) -> None:
    plain, model = world.dataset, replace(world.dataset.model, score="cosine")
    world.dataset = replace(plain, model=model)
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))
    assert own_attention in sys.modules
    world.dataset = plain
    land(world.engine, rows("a", LAST + 1, LAST + HORIZON + 3))

    (report,) = score_all(world, range(LAST + HORIZON + 3, LAST + HORIZON + 4))

    assert report.points == HORIZON


def test_what_was_said_in_hindsight_is_not_scored(trained: World) -> None:
    trained.tick("forecast", hour(LAST - HORIZON))

    (report,) = score_all(trained, range(LAST + 9, LAST + 10))

    assert (report.points, report.rows, report.leads) == (0, 0, ())


def test_what_comes_in_late_for_all_series_is_scored_when_it_comes(trained: World) -> None:
    trained.tick("forecast", hour(LAST))
    meanwhile = score_all(trained, range(LAST + 1, LAST + 30))
    land(trained.engine, rows("a", LAST + 1, LAST + 30), rows("b/c", LAST + 1, LAST + 30))

    (report,) = score_all(trained, range(LAST + 30, LAST + 31))

    assert {found.matured_to for found in meanwhile} == {
        hour(LAST + 1) - DATASET.late_data, hour(LAST)
    }  # fmt: skip
    assert report.points == 2 * HORIZON


def test_seasonal_naive_looks_back_a_whole_season_whatever_the_context(engine: Engine) -> None:
    land(engine, rows("a", 0, LAST + 20))
    short = replace(DATASET, model=replace(DATASET.model, context_length=8, season_length=24))
    world = World(engine=engine, dataset=short)
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))

    world.tick("score", hour(LAST + 3))

    actual, yesterday = (rows("a", at, at)["value"][0] for at in (LAST + 1, LAST - 23))
    found = query(engine, "SELECT seasonal_naive_error FROM accuracy WHERE lead = '1'")
    assert found == [(pytest.approx(abs(actual - yesterday), abs=within(SCALE)),)]


def test_a_value_that_is_missing_a_season_ago_is_looked_for_further_back(engine: Engine) -> None:
    gap = pl.col("timestamp") != hour(LAST - 23)
    land(engine, rows("a", 0, LAST + 20), rows("gappy", 0, LAST + 20).filter(gap))
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))

    world.tick("score", hour(LAST + 3))

    actual, before = (rows("gappy", at, at)["value"][0] for at in (LAST + 1, LAST - 47))
    found = query(
        engine,
        "SELECT seasonal_naive_error FROM accuracy JOIN series ON id = series_id"
        " WHERE lead = '1' AND key = 'gappy'",
    )
    assert found == [(pytest.approx(abs(actual - before), abs=within(SCALE)),)]


def test_forecasts_of_an_earlier_step_are_scored_after_the_step_has_changed(
    trained: World,
) -> None:
    trained.tick("forecast", hour(LAST))
    land(trained.engine, rows("a", LAST + 1, LAST + 30), rows("b/c", LAST + 1, LAST + 30))
    finer = replace(trained, dataset=replace(DATASET, step=Step.parse("15m")))

    reports = score_all(finer, range(LAST + 1, LAST + 30))

    assert sum(report.points for report in reports) == 2 * HORIZON
