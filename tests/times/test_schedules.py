"""Schedules tick when they say, in every zone, whatever its clock does."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step, parse_duration
from forecaster.times.schedules import Cron, Every, Schedule
from tests.times.minutes import DAY, Scan, minute_of
from tests.times.ticking import (
    DELAYS,
    DENSE,
    FROM,
    LENGTH,
    PERIODS,
    SPARSE,
    ZONES,
    assert_neighbours,
    differences,
)


@pytest.mark.slow
@pytest.mark.fault(9)
@pytest.mark.parametrize("zone", ZONES)
def test_cron_ticks_at_the_minutes_that_twenty_years_of_a_wall_clock_show(zone: str) -> None:
    scan = Scan(zone, minute_of(FROM), LENGTH)
    anywhere = np.random.default_rng(0).integers(scan.first, scan.first + LENGTH, 50).tolist()
    for expression in SPARSE:
        cron, ticks = Cron(expression, zone), scan.ticks(expression)
        assert differences(cron, ticks, scan.first, LENGTH) == []
        assert_neighbours(cron, ticks, [*anywhere, *scan.changes])
    for expression in DENSE:
        cron, ticks = Cron(expression, zone), scan.ticks(expression)
        for change in scan.changes:
            assert differences(cron, ticks, change - DAY, 2 * DAY) == []
        assert_neighbours(cron, ticks, [*anywhere[:20], *scan.changes])


@pytest.mark.fault(9)
@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/St_Johns", "2010-11-07"),
        ("America/Havana", "2026-03-08"),
        ("America/Sao_Paulo", "2017-10-15"),
        ("Africa/Casablanca", "2026-02-15"),
        ("Australia/Lord_Howe", "2026-10-04"),
        ("Australia/Lord_Howe", "2026-04-05"),
        ("Antarctica/Troll", "2026-03-29"),
        ("Asia/Kathmandu", "1986-01-01"),
        ("Asia/Pyongyang", "2018-05-04"),
        ("Pacific/Apia", "2011-12-30"),
        ("Pacific/Chatham", "2026-09-27"),
    ],
)
def test_cron_ticks_at_the_minutes_that_the_wall_clock_shows_as_it_changes(
    zone: str, day: str
) -> None:
    middle = minute_of(datetime.fromisoformat(day).replace(tzinfo=UTC))
    scan = Scan(zone, middle - 3 * DAY, 6 * DAY)

    assert scan.changes
    for expression in (*DENSE, *SPARSE):
        ticks = scan.ticks(expression)
        assert differences(Cron(expression, zone), ticks, scan.first, scan.count) == []


instants = st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
schedules = st.one_of(
    st.builds(
        Every,
        st.integers(1, 10**6).map(lambda seconds: timedelta(seconds=seconds)),
        st.integers(0, 10**7).map(lambda seconds: timedelta(seconds=seconds)),
    ),
    st.builds(
        Periods,
        st.sampled_from(PERIODS).map(Step.parse),
        st.sampled_from(ZONES),
        st.sampled_from(DELAYS).map(parse_duration),
    ),
    st.builds(Cron, st.sampled_from([*DENSE, *SPARSE]), st.sampled_from(ZONES)),
)


@given(schedules, instants)
def test_an_instant_lies_between_its_last_tick_and_its_next(
    schedule: Schedule, instant: datetime
) -> None:
    last, following = schedule.floor(instant), schedule.after(instant)

    assert last <= instant < following
    assert schedule.floor(last) == last
    assert schedule.after(last) == following
    assert schedule.floor(following - timedelta(microseconds=1)) == last
    assert schedule.between(last, following) == [following]


@given(schedules, instants, st.integers(1, 40), st.floats(0, 1))
def test_ticks_between_two_instants_are_those_that_come_one_after_the_other(
    schedule: Schedule, after: datetime, count: int, part: float
) -> None:
    ticks = [schedule.after(after)]
    while len(ticks) < count:
        ticks.append(schedule.after(ticks[-1]))
    middle = after + (ticks[-1] - after) * part

    assert schedule.between(after, ticks[-1]) == ticks
    assert schedule.between(after, middle) + schedule.between(middle, ticks[-1]) == ticks
    assert schedule.between(ticks[-1], after) == []


@given(schedules, instants)
def test_an_instant_has_its_ticks_in_whatever_zone_it_is_told(
    schedule: Schedule, instant: datetime
) -> None:
    elsewhere = instant.astimezone(None)

    assert schedule.floor(elsewhere) == schedule.floor(instant)
    assert schedule.after(elsewhere) == schedule.after(instant)


@given(instants, st.integers(1, 10**6))
def test_intervals_are_counted_from_1970(instant: datetime, seconds: int) -> None:
    tick = Every(timedelta(seconds=seconds)).floor(instant)

    assert tick.timestamp() % seconds == 0
    assert instant - tick < timedelta(seconds=seconds)


def test_an_interval_ticks_after_its_delay() -> None:
    hours = Every(timedelta(hours=1), delay=timedelta(minutes=15))
    ticks = hours.between(FROM, FROM + timedelta(hours=2))

    assert [f"{tick:%H:%M}" for tick in ticks] == ["00:15", "01:15"]


@pytest.mark.parametrize(
    ("expression", "days", "minutes"),
    [
        ("* * * * *", 0, 1),
        ("*/7 * * * *", 0, 4),
        ("0 6 * * mon-fri", 1, 0),
        ("50 23,0 * * *", 0, 60),
        ("0 1,23 * * *", 0, 120),
        ("0 0 1 * *", 28, 0),
        ("0 0 29 2 *", 1461, 0),
        ("0 6 * * sun", 7, 0),
    ],
)
def test_the_shortest_distance_of_two_ticks_is_known(
    expression: str, days: int, minutes: int
) -> None:
    cron = Cron(expression)
    ticks = cron.between(FROM, FROM + timedelta(days=10))

    assert cron.shortest == timedelta(days=days, minutes=minutes)
    assert all(later - tick >= cron.shortest for tick, later in pairwise(ticks))


def test_a_schedule_is_told_as_it_was_written() -> None:
    told = [
        str(Every(timedelta(minutes=90))),
        str(Every(timedelta(hours=1), delay=timedelta(minutes=75))),
        str(Periods(Step.parse("P1M"))),
        str(Periods(Step.parse("1w"), "Asia/Tokyo", timedelta(hours=6))),
        str(Cron("0 6 * * mon-fri", "Asia/Tokyo")),
    ]

    assert told == [
        "1h30m", "1h + 15m", "1mo (UTC)", "1w + 6h (Asia/Tokyo)", "0 6 * * mon-fri (Asia/Tokyo)",
    ]  # fmt: skip


def test_a_schedule_that_goes_back_beyond_all_years_says_so() -> None:
    leap = Cron("0 0 29 2 *")

    with pytest.raises(ValueError, match="has no tick up to 0004-02-28"):
        leap.floor(datetime(4, 2, 28, tzinfo=UTC))
    with pytest.raises(ValueError, match="has no tick after 9998"):
        leap.after(datetime(9998, 6, 1, tzinfo=UTC))
    for periods in (Periods(Step.parse("1mo")), Periods(Step.parse("1d"))):
        with pytest.raises(ValueError, match="begins outside of the years 2 to 9998"):
            periods.floor(datetime(1, 6, 1, tzinfo=UTC))
        with pytest.raises(ValueError, match="begins outside of the years 2 to 9998"):
            periods.after(datetime(9999, 1, 31, tzinfo=UTC))
