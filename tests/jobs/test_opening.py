"""A dataset with opening hours through its jobs: closed steps are in no table and in no count."""

from dataclasses import replace

import pytest

from forecaster.config.settings import CalendarConfig
from forecaster.store.connection.engine import reading
from jobs.execution.reports import ForecastReport
from jobs.explain import read
from tests.jobs.small import LAST, World, hour, land, query, rows
from tests.tolerance import assert_close

pytestmark = pytest.mark.quick_on("sqlite")

OPEN = range(7, 18)
"""Hours of a day; LAST is 16:00."""
LAST_OPEN, NIGHT, MORNING = LAST + 1, LAST + 6, LAST + 16
"""Cutoffs at 17:00, 22:00 and 8:00."""


def observe(world: World, first: int, last: int) -> None:
    """Land what was open from one hour to another."""
    for series_id in ("a", "b/c"):
        found = rows(series_id, first, last)
        land(world.engine, found.filter(found["timestamp"].dt.hour().is_in(list(OPEN))))


@pytest.fixture
def office(world: World) -> World:
    """Two series that are open from 7 to 18, and a model that knows."""
    world.dataset = replace(world.dataset, calendar=CalendarConfig(open="07:00-18:00"))
    world.tick("retrain", hour(LAST))
    observe(world, LAST_OPEN, LAST_OPEN)
    return world


def forecast(world: World, number: int, minutes: int = 0) -> ForecastReport:
    report = world.tick("forecast", hour(number).replace(minute=minutes)).report
    assert isinstance(report, ForecastReport)
    return report


def steps(world: World) -> list[object]:
    return [
        step
        for (step,) in query(world.engine, "SELECT DISTINCT step FROM forecast_steps ORDER BY 1")
    ]


def test_closed_steps_have_no_rows_and_are_not_counted(office: World) -> None:
    report = forecast(office, NIGHT)

    assert steps(office) == [9, 10, 11, 12]
    assert report.rows == 2 * 4
    assert report.statuses == {"ok": 2}
    assert report.skipped == {}
    (attention,) = query(office.engine, "SELECT count(*) FROM attention")
    assert attention == (report.attention_rows,)


def test_a_tick_before_closed_steps_only_writes_none(office: World) -> None:
    report = forecast(office, LAST_OPEN)

    assert (report.rows, report.attention_rows, report.skipped) == (0, 0, {})
    assert steps(office) == []


def test_a_cutoff_whose_first_step_is_closed_is_forecast_once(office: World) -> None:
    first = forecast(office, NIGHT)

    again = forecast(office, NIGHT, minutes=30)

    assert (first.rows, again.rows) == (8, 0)
    assert query(office.engine, "SELECT count(*) FROM forecast_steps") == [(8,)]


def test_a_lead_whose_last_step_is_closed_is_scored(office: World) -> None:
    observe(office, LAST_OPEN + 1, MORNING)
    assert forecast(office, MORNING).rows == 2 * 9
    observe(office, MORNING + 1, MORNING + 24)

    office.tick("score", hour(MORNING + 24))

    assert query(office.engine, "SELECT sum(points) FROM accuracy") == [(2 * 9,)]


def test_an_explanation_leaves_closed_steps_out(office: World) -> None:
    observe(office, LAST_OPEN + 1, MORNING)
    forecast(office, NIGHT)

    with reading(office.engine) as conn:
        found = read.explain(conn, "bikes", "a")

    assert found.step_ranges[0].step_from == 9
    for step_range in found.step_ranges:
        parts = (
            step_range.copied,
            step_range.last_value,
            step_range.residual,
            step_range.adjustment,
        )
        assert_close(step_range.level + sum(parts), step_range.median)
        adds = [source.adds for source in step_range.sources if source.source == "past"]
        if step_range.lift is not None:  # else some patches hold nothing that was observed
            known = sum(each for each in adds if each is not None)
            assert_close(known + step_range.lift, step_range.copied, step_range.median)
