"""Names that could be mistaken for something else stay names: in SQL, in the log, in metrics."""

import logging

import polars as pl
import pytest
from sqlalchemy import Engine

from jobs.telemetry import record
from jobs.telemetry.metrics import Telemetry
from tests.jobs.small import LAST, World, hour, land, query, rows

pytestmark = pytest.mark.fault(19, 35)

NAMES = (
    "a\n2026-01-01T00:00:00Z ERROR everything is lost",
    'b"} 1\nforecaster_ready 0',
    "c'); DROP TABLE runs; --",
    "d \x1b[31mred \u2028 \x85",
    "%s %(name)s {0} :since $1 ?",
)
FLOOD = 50
"""Series more that are too short to be forecast."""


@pytest.fixture
def odd(engine: Engine) -> World:
    """Series with odd names, and many with nothing to say."""
    short = [
        rows("a", LAST, LAST).with_columns(pl.lit(f"{name}{number}").alias("series_id"))
        for number in range(FLOOD // len(NAMES))
        for name in NAMES
    ]
    long = [rows("a", 0, LAST).with_columns(pl.lit(name).alias("series_id")) for name in NAMES]
    land(engine, *long, *short)
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    return world


def test_series_of_any_name_are_forecast_logged_in_a_line_and_counted_by_nothing_of_theirs(
    odd: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="forecaster")
    telemetry = Telemetry(["bikes"])

    outcome = odd.tick("forecast", hour(LAST))
    record.outcome(telemetry, outcome)

    assert outcome.result == "succeeded"
    forecast = query(odd.engine, "SELECT DISTINCT series_id FROM latest_forecasts")
    assert {name for (name,) in forecast} == {*NAMES}
    assert [each.getMessage().splitlines() for each in caplog.records] == [
        [each.getMessage()] for each in caplog.records
    ]
    labels = {
        value
        for metric in telemetry.registry.collect()
        for sample in metric.samples
        for value in sample.labels.values()
    }
    assert [value for value in labels if any(name in value for name in NAMES)] == []
