"""Days, weeks, months and years begin when the wall clock of a zone first shows them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.anchor import detect_grid
from forecaster.schemas import OBSERVATIONS, empty
from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step, parse_duration
from forecaster.times.schedules import every
from tests.times.minutes import DAY, Scan, minute_of
from tests.times.ticking import (
    DELAYS,
    FROM,
    LENGTH,
    PERIODS,
    ZONES,
    assert_neighbours,
    differences,
)

instants = st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.slow
@pytest.mark.fault(9)
@pytest.mark.parametrize("zone", ZONES)
def test_periods_tick_at_the_minutes_at_which_twenty_years_of_a_wall_clock_begin_another(
    zone: str,
) -> None:
    scan = Scan(zone, minute_of(FROM), LENGTH)
    anywhere = np.random.default_rng(0).integers(scan.first, scan.first + LENGTH, 50).tolist()
    for text in PERIODS:
        starts = scan.starts(Step.parse(text))
        for delay in map(parse_duration, DELAYS):
            later = delay // timedelta(minutes=1)
            periods = Periods(Step.parse(text), zone, delay)
            assert differences(periods, starts + later, scan.first + later, LENGTH) == []
            assert_neighbours(periods, starts + later, [*anywhere, *scan.changes])


@pytest.mark.fault(9)
@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", "2028-02-29"),
        ("UTC", "2027-03-01"),
        ("UTC", "2100-03-01"),
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/Havana", "2026-03-08"),
        ("America/Havana", "2026-11-01"),
        ("America/Sao_Paulo", "2017-10-15"),
        ("America/Sao_Paulo", "2018-02-18"),
        ("Africa/Cairo", "2024-04-26"),
        ("Asia/Amman", "2022-02-25"),
        ("Asia/Beirut", "2023-03-26"),
        ("Asia/Kathmandu", "1986-01-01"),
        ("Australia/Lord_Howe", "2026-10-04"),
        ("Antarctica/Troll", "2026-03-29"),
        ("Pacific/Apia", "2011-12-30"),
        ("Pacific/Apia", "2011-12-31"),
        ("Pacific/Chatham", "2026-09-27"),
        ("Pacific/Kwajalein", "1993-08-21"),
    ],
)
def test_periods_begin_when_the_wall_clock_first_shows_them(zone: str, day: str) -> None:
    middle = minute_of(datetime.fromisoformat(day).replace(tzinfo=UTC))
    scan = Scan(zone, middle - 40 * DAY, 80 * DAY)

    for text in PERIODS:
        starts = scan.starts(Step.parse(text))
        periods = Periods(Step.parse(text), zone)
        assert differences(periods, starts, scan.first, scan.count) == []


def test_a_month_ticks_once_on_its_first_day_after_the_delay() -> None:
    periods = Periods(Step.parse("1mo"), "Europe/Berlin", timedelta(days=4))
    ticks = periods.between(datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))

    shown = [f"{tick.astimezone(ZoneInfo('Europe/Berlin')):%m-%d %H:%M}" for tick in ticks]
    assert shown == [f"{month:02}-05 00:00" for month in range(1, 13)]


@pytest.mark.parametrize(("step", "weekday"), [("1w", 0), ("2w", 0), ("4w", 0)])
def test_weeks_tick_on_mondays(step: str, weekday: int) -> None:
    ticks = Periods(Step.parse(step), "America/New_York").between(FROM, FROM.replace(year=2010))

    assert {tick.astimezone(ZoneInfo("America/New_York")).weekday() for tick in ticks} == {weekday}


def test_a_day_that_a_zone_leaves_out_has_no_tick() -> None:
    days = Periods(Step.parse("1d"), "Pacific/Apia")
    begin, end = datetime(2011, 12, 28, tzinfo=UTC), datetime(2012, 1, 2, tzinfo=UTC)

    shown = [tick.astimezone(ZoneInfo("Pacific/Apia")).day for tick in days.between(begin, end)]
    assert shown == [28, 29, 31, 1, 2]


@given(
    st.sampled_from([*PERIODS, "1h", "7m", "36h", "1s"]),
    st.sampled_from([*ZONES, "Pacific/Kwajalein"]),
    instants,
)
def test_ticks_are_the_starts_of_the_cells_of_the_grid(
    step: str, zone: str, instant: datetime
) -> None:
    delay = timedelta(minutes=15)
    grid = detect_grid(empty(OBSERVATIONS), Step.parse(step), zone)
    start = grid.timestamp_at(grid.index_at(instant))
    schedule = every(Step.parse(step), timezone=zone, delay=delay)
    following = schedule.after(start + delay) - delay

    assert schedule.floor(start + delay) == schedule.floor(instant + delay) == start + delay
    assert grid.timestamp_at(grid.index_at(following)) == following
    assert grid.index_at(following - timedelta(microseconds=1)) == grid.index_at(start)


@pytest.mark.parametrize(
    ("step", "days"),
    [("1d", 1), ("10d", 10), ("1w", 7), ("1mo", 28), ("2mo", 59), ("3mo", 90), ("1y", 365)],
)
def test_the_shortest_period_is_known(step: str, days: int) -> None:
    periods = Periods(Step.parse(step))
    ticks = periods.between(FROM, FROM + timedelta(days=4000))

    assert periods.shortest == timedelta(days=days)
    assert min(later - tick for tick, later in pairwise(ticks)) == periods.shortest


def test_hours_are_no_periods_of_the_calendar() -> None:
    with pytest.raises(ValueError, match="must be a step of days or months, found 1h"):
        Periods(Step.parse("1h"))
