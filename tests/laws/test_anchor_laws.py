"""Where every period has one row, whenever in it, every cell has one row."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.anchor import detect_grid
from forecaster.data.grid import Grid
from forecaster.schemas import INSTANT
from forecaster.times.durations import Step
from forecaster.times.local_time import instant_of

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
ZONES = st.sampled_from(["UTC", "America/New_York", "Asia/Tokyo"])
FIRST = {"1h": 0, "1d": 0, "1w": 4, "1mo": 0, "3mo": 0, "1y": 0}
"""Days from 1970-01-01 to the beginning of a period, on the wall."""


def stamped(stamps: pl.Series, name: str = "a") -> pl.DataFrame:
    frame = pl.DataFrame({"timestamp": stamps.cast(INSTANT)})
    return frame.select(pl.lit(name).alias("series_id"), "timestamp", pl.lit(1.0).alias("value"))


def one_each(grid: Grid, stamps: pl.Series) -> bool:
    return bool((grid.index_of(stamps.cast(INSTANT)).diff().drop_nulls() == 1).all())


@given(
    step=st.sampled_from([*FIRST]),
    zone=ZONES,
    first=st.integers(300, 500),
    shares=st.lists(st.floats(0, 0.999), min_size=2, max_size=40),
)
def test_one_row_a_period_is_one_row_a_cell(
    step: str, zone: str, first: int, shares: list[float]
) -> None:
    zone = "UTC" if step == "1h" else zone
    periods = Grid(Step.parse(step), FIRST[step] * DAY // timedelta(microseconds=1), zone)
    cells = pl.int_range(first, first + len(shares), eager=True)
    begins = periods.timestamps_of(cells).to_physical()
    lengths = periods.timestamps_of(cells + 1).to_physical() - begins
    stamps = begins + (lengths * pl.Series(shares)).cast(pl.Int64)

    grid = detect_grid(stamped(stamps), Step.parse(step), zone)

    assert one_each(grid, stamps)


@given(
    step=st.sampled_from(["5m", "1h", "6h", "1d", "1w"]),
    phase=st.floats(0, 1),
    moved=st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=60, unique=True),
    marks=st.sampled_from(["instant", "start", "end"]),
)
def test_rows_that_move_around_a_phase_keep_cells_of_their_own(
    step: str, phase: float, moved: list[float], marks: str
) -> None:
    length = Step.parse(step).approximate // timedelta(microseconds=1)
    stamps = pl.Series([round((900 + k + phase + by) * length) for k, by in enumerate(moved)])

    grid = detect_grid(stamped(stamps), Step.parse(step), "UTC", marks=marks)

    assert one_each(grid, stamps)


def months(first: int, last: int) -> list[date]:
    return [date(2000 + month // 12, month % 12 + 1, 1) for month in range(first, last)]


def business(day: date, by: int) -> date:
    while day.weekday() > 4:
        day += by * DAY
    return day


def last_of(month: date) -> date:
    return (month + 31 * DAY).replace(day=1) - DAY


MOVING: dict[str, Callable[[date], date]] = {
    "last business day": lambda month: business(last_of(month), -1),
    "first business day": lambda month: business(month, 1),
    "15th or the Friday before": lambda month: business(month.replace(day=15), -1),
    "15th or the Monday after": lambda month: business(month.replace(day=15), 1),
    "last Friday": lambda month: last_of(month) - (last_of(month).weekday() - 4) % 7 * DAY,
    "last day": last_of,
    "business day near the 30th": lambda month: business(month.replace(day=28), 1),
}


@pytest.mark.parametrize("every", [1, 3, 12], ids=["months", "quarters", "years"])
@pytest.mark.parametrize("rule", MOVING)
def test_business_days_of_months_get_one_cell_each(every: int, rule: str) -> None:
    wall = pl.Series([MOVING[rule](month) for month in months(0, 300)[every - 1 :: every]])
    stamps = instant_of(wall.cast(pl.Datetime("us")).to_physical(), "America/New_York")

    grid = detect_grid(stamped(stamps), Step(every, "month"), "America/New_York")

    assert one_each(grid, stamps)


def test_months_whose_stamps_move_are_forecast_at_their_first_day() -> None:
    days = pl.Series([MOVING["last business day"](month) for month in months(0, 100)])

    grid = detect_grid(stamped(days.cast(pl.Datetime("us"))), Step.parse("1mo"), "UTC")

    assert grid.timestamp_at(grid.index_at(datetime(2006, 9, 29, tzinfo=UTC))) == datetime(
        2006, 9, 1, tzinfo=UTC
    )


def test_fridays_that_holidays_move_to_thursday_are_weeks() -> None:
    fridays = [datetime(2021, 1, 1, tzinfo=UTC) + 7 * week * DAY for week in range(150)]
    stamps = pl.Series([day - DAY * (week % 13 == 7) for week, day in enumerate(fridays)])

    grid = detect_grid(stamped(stamps), Step.parse("1w"), "UTC")

    assert one_each(grid, stamps)
    assert grid.timestamp_at(grid.index_at(fridays[3])).weekday() == 0


@pytest.mark.parametrize("step", ["1h", "1d"])
def test_stamps_a_moment_before_and_after_the_hour_are_not_mixed_up(step: str) -> None:
    begins = Grid(Step.parse(step), 0).timestamps_of(pl.int_range(9000, 9400, eager=True))
    moves = pl.Series([(-1) ** (k * k // 3) * 2_000_000 for k in range(400)])
    stamps = begins.to_physical() + moves

    grid = detect_grid(stamped(stamps), Step.parse(step), "UTC")

    assert one_each(grid, stamps)


def test_a_stray_row_does_not_move_the_grid() -> None:
    begins = Grid(Step.parse("1h"), 0).timestamps_of(pl.int_range(9000, 9400, eager=True))
    stray = begins[[7, 200]].to_physical() + 1_234_000_000
    rows = stamped(pl.concat([begins.to_physical(), stray]).sort())

    assert detect_grid(rows, Step.parse("1h"), "UTC").anchor == 0


def test_a_row_too_many_at_the_end_does_not_move_the_grid() -> None:
    begins = Grid(Step.parse("1h"), 0).timestamps_of(pl.int_range(9000, 9050, eager=True))
    half = begins[-1:].to_physical() + 1_800_000_000
    rows = stamped(pl.concat([begins.to_physical(), half]))

    assert detect_grid(rows, Step.parse("1h"), "UTC").anchor == 0


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_rows_of_opening_hours_that_are_finer_keep_the_full_hour(zone: str) -> None:
    days = range(60)
    opens = datetime(2024, 1, 1, 8, tzinfo=ZoneInfo(zone))
    wall = [opens + day * DAY + half * timedelta(minutes=30) for day in days for half in range(26)]
    stamps = pl.Series([each.astimezone(UTC) for each in wall])

    assert detect_grid(stamped(stamps), Step.parse("1h"), zone).anchor == 0
