"""Ticks of a model that gave way to a naive forecast: stored, scored, and without attention."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from forecaster.data.panel import build
from forecaster.store.connection.engine import reading
from jobs.demo import charts
from jobs.demo.screens import picture
from jobs.execution.reports import ForecastReport, RetrainReport, ScoreReport
from tests.jobs.small import DATASET, HORIZON, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.quick_on("sqlite")

GUARDED = replace(DATASET, training=replace(DATASET.training, naive_guard=True))


@pytest.fixture
def guarded(world: World) -> World:
    """A model of four steps, which is no match for yesterday's values."""
    world.dataset = GUARDED
    report = world.tick("retrain", hour(LAST)).report
    assert isinstance(report, RetrainReport)
    assert report.notes[-1].startswith("seasonal_naive is used instead of the network")
    return world


def test_a_fallback_is_forecast_and_scored_as_what_it_is(guarded: World) -> None:
    report = guarded.tick("forecast", hour(LAST)).report

    assert isinstance(report, ForecastReport)
    assert report.statuses == {"fallback_naive": 2}
    assert (report.rows, report.attention_rows) == (2 * HORIZON, 0)
    for empty in ("forecast_attention", "forecast_parts", "attention_patches"):
        assert query(guarded.engine, f"SELECT * FROM {empty}") == []
    latest = query(guarded.engine, "SELECT DISTINCT status FROM latest_forecasts")
    assert latest == [("fallback_naive",)]


def test_a_fallback_is_as_right_as_the_yardstick_that_it_is(guarded: World) -> None:
    guarded.tick("forecast", hour(LAST))
    land(guarded.engine, *(rows(name, LAST + 1, LAST + 20) for name in ("a", "b/c")))

    report = guarded.tick("score", hour(LAST + 20)).report

    assert isinstance(report, ScoreReport)
    assert report.points == 2 * HORIZON
    for lead in report.leads:
        assert lead.mase == pytest.approx(lead.seasonal_naive_mase, rel=1e-4)


def test_a_fallback_is_drawn_without_attention(guarded: World, engine: Engine) -> None:
    guarded.tick("forecast", hour(LAST))

    grid = guarded.champions.serving(engine, GUARDED, now=hour(LAST)).model.spec.grid()
    with reading(engine) as conn:
        panel = build(rows("a", 0, LAST), grid)
        shown = charts.of_first_series(conn, GUARDED, panel, hour(LAST))

    assert shown is not None
    assert (shown.series_id, len(shown.median), shown.attended) == ("a", HORIZON, ())
    assert picture(shown)
