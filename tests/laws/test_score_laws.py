"""What happened in a cell is scored when the cell is over."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from sqlalchemy import Engine

from forecaster.config.settings import RetentionConfig
from tests.jobs.small import DATASET, HORIZON, HOUR, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.quick_on("sqlite")


@pytest.mark.parametrize("late_data", [timedelta(0), HOUR], ids=["0h", "1h"])
def test_no_cell_is_scored_before_it_is_over(engine: Engine, late_data: timedelta) -> None:
    quarters = [
        rows("a", 0, LAST + 20).with_columns(
            pl.col("timestamp") + quarter * HOUR / 4, pl.col("value") + quarter
        )
        for quarter in range(4)
    ]
    fine = pl.concat(quarters).sort("timestamp")
    world = World(engine=engine, dataset=replace(DATASET, late_data=late_data))

    def reach(instant: datetime) -> None:
        land(engine, fine.filter(pl.col("timestamp") <= instant))

    reach(hour(LAST))
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))  # of the hour LAST and on
    for minutes in range(0, 150, 30):
        tick = hour(LAST) + late_data + minutes * timedelta(minutes=1)
        reach(tick)
        world.tick("score", tick)
        points = query(engine, "SELECT absolute_error FROM accuracy WHERE lead = '1'")
        assert len(points) == (minutes >= 60)

    actual = rows("a", LAST, LAST)["value"][0] + 1.5
    said = query(engine, "SELECT q50 FROM all_forecasts WHERE step = 1")[0][0]
    assert isinstance(said, float)
    assert points == [(pytest.approx(abs(actual - said), rel=1e-5),)]


def test_nothing_is_pruned_before_its_last_cell_is_over_and_scored(engine: Engine) -> None:
    fine = [
        rows("a", 0, LAST + 20).with_columns(pl.col("timestamp") + quarter * HOUR / 4)
        for quarter in range(4)
    ]
    everything = pl.concat(fine).sort("timestamp")
    world = World(
        engine=engine,
        dataset=replace(DATASET, late_data=timedelta(0)),
        retention=RetentionConfig(forecasts=timedelta(0), attention=timedelta(0)),
    )
    land(engine, everything.filter(pl.col("timestamp") <= hour(LAST)))
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))

    for number in range(LAST + 1, LAST + HORIZON + 1):
        land(engine, everything.filter(pl.col("timestamp") <= hour(number)))
        assert world.tick("score", hour(number)).result == "succeeded"
        assert world.tick("prune", hour(number) + HOUR / 2).result == "succeeded"

    leads = query(engine, "SELECT lead, points FROM accuracy ORDER BY points")
    assert leads == [("1", 1), ("2", 1), ("3-5", 3), ("6-12", 7)]
