"""Months from their rows to a forecast: what has just ended is known at the tick that follows."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.schemas import OBSERVATIONS
from forecaster.store.connection.engine import writing
from forecaster.store.observations import observations
from jobs.execution.reports import ForecastReport
from tests.config.configs import parsed
from tests.jobs.small import World, query

pytestmark = pytest.mark.quick_on("sqlite")

DAY = timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=BERLIN).astimezone(UTC) for month in (11, 12))
TICK = datetime(2026, 12, 6, tzinfo=BERLIN).astimezone(UTC)
"""The first of December and the delay."""
CONFIG = """
database_url = "sqlite:///f.db"
[datasets.bills]
step = "1mo"
prediction_length = 3
timezone = "Europe/Berlin"
delay = "5d"
history = "20y"
[datasets.bills.model]
hidden_size = 8
layers = 1
heads = 2
[datasets.bills.training]
steps = 4
batch_size = 8
device = "cpu"
naive_guard = false
"""


def months(since: int) -> Iterator[datetime]:
    """Yield the first days of months up to November 2026."""
    for number in range(since * 12, 2026 * 12 + 11):
        yield datetime(number // 12, number % 12 + 1, 1, tzinfo=BERLIN)


def last_weekday(first: datetime) -> datetime:
    last = (first + 31 * DAY).replace(day=1) - DAY
    return last - max(0, last.weekday() - 4) * DAY


def days_of(first: datetime) -> list[datetime]:
    return [day for n in range(31) if (day := first + n * DAY).month == first.month]


ROWS = {
    "sums that are stamped on the first": ('timestamp_marks = "start"', list(months(2016))),
    "values of the last weekday": ("", [last_weekday(each) for each in months(2016)]),
    "values of the last second": (
        "",
        [(each + 31 * DAY).replace(day=1) - timedelta(seconds=1) for each in months(2016)],
    ),
    "rows of each day": ("", [day for each in months(2016) for day in days_of(each)]),
}


def land(engine: Engine, stamps: list[datetime], dataset: DatasetConfig) -> None:
    """Land two series, those of November shortly before TICK."""
    names = [name for name in "ab" for _ in stamps]
    values = [10 + 3 * math.sin(math.tau * each.month / 12 + ord(name))
              for name in "ab" for each in stamps]  # fmt: skip
    at = [each.astimezone(UTC) for each in stamps * 2]
    frame = pl.DataFrame(
        {"series_id": names, "timestamp": at, "value": values}, schema=OBSERVATIONS
    )
    for part, recorded in (
        (frame.filter(pl.col("timestamp") < NOVEMBER), NOVEMBER + 2 * DAY),
        (frame.filter(pl.col("timestamp") >= NOVEMBER), TICK - timedelta(minutes=1)),
    ):
        with writing(engine) as conn:
            observations.ingest(conn, dataset.name, part, recorded_at=recorded)


@pytest.mark.parametrize(("settings", "stamps"), ROWS.values(), ids=ROWS)
def test_the_tick_of_december_knows_november_and_forecasts_december_first(
    engine: Engine, two_steps: None, settings: str, stamps: list[datetime]
) -> None:
    text = CONFIG.replace('step = "1mo"', f'step = "1mo"\n{settings}')
    dataset = parsed(text).datasets["bills"]
    land(engine, stamps, dataset)
    world = World(engine=engine, dataset=dataset)

    tick = dataset.forecast_schedule.after(datetime(2026, 11, 29, tzinfo=UTC))
    retrain = dataset.retrain_schedule.after(datetime(2026, 11, 29, tzinfo=UTC))
    assert tick == retrain == TICK
    assert world.tick("retrain", tick).result == "succeeded"
    report = world.tick("forecast", tick).report

    assert isinstance(report, ForecastReport)
    assert (report.rows, report.skipped) == (2 * 3, {})
    assert NOVEMBER <= report.cutoff < DECEMBER
    found = query(engine, "SELECT timestamp FROM latest_forecasts ORDER BY series_id, timestamp")
    at = [datetime.fromisoformat(str(stamp)).astimezone(BERLIN) for (stamp,) in found]
    assert [(each.year, each.month) for each in at] == [(2026, 12), (2027, 1), (2027, 2)] * 2
