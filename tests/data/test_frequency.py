"""The step of rows, told from the distances between them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.frequency import find_spacing, find_spacings, is_same_step
from forecaster.schemas import OBSERVATIONS
from forecaster.times.durations import Step

START = datetime(2024, 1, 1, tzinfo=UTC)
NEW_YORK = datetime(2024, 1, 1, tzinfo=ZoneInfo("America/New_York"))


def frame(*series: list[datetime]) -> pl.DataFrame:
    rows = [(f"s{place}", stamp, 1.0) for place, stamps in enumerate(series) for stamp in stamps]
    return pl.DataFrame(rows, schema=OBSERVATIONS, orient="row")


def months(count: int, every: int) -> list[datetime]:
    each = [divmod(place * every, 12) for place in range(count)]
    return [datetime(2000 + year, month + 1, 1, tzinfo=UTC) for year, month in each]


@pytest.mark.parametrize(
    ("stamps", "step"),
    [
        ([START + n * timedelta(minutes=5) for n in range(90) if n % 7], "5m"),
        ([NEW_YORK + n * timedelta(days=1) for n in range(300)], "1d"),
        ([START + n * timedelta(weeks=1) for n in range(30)], "1w"),
        ([START + n * timedelta(days=28) for n in range(30)], "4w"),
        (months(40, 1), "1mo"),
        (months(20, 3), "3mo"),
        (months(20, 12), "1y"),
    ],
)
def test_the_step_of_regular_rows_is_found(stamps: list[datetime], step: str) -> None:
    found = find_spacing(frame(stamps))

    assert found is not None
    assert (str(found.step), found.regular) == (step, 1.0)


def weekdays(stamps: list[datetime], back: int) -> list[datetime]:
    """The last weekday before each, or the first one from each on."""
    moved = []
    for stamp in stamps:
        day = stamp + min(back, 0) * timedelta(days=1)
        while day.weekday() > 4:
            day += (1 if back == 0 else -1) * timedelta(days=1)
        moved.append(day)
    return moved


@pytest.mark.parametrize("back", [-1, 0])
@pytest.mark.parametrize(
    ("count", "every", "step"),
    [
        (14, 1, "1mo"),
        (90, 1, "1mo"),
        (40, 2, "2mo"),
        (40, 3, "3mo"),
        (20, 6, "6mo"),
        (20, 12, "1y"),
    ],
)
def test_the_first_and_the_last_weekdays_of_periods_are_regular(
    count: int, every: int, step: str, back: int
) -> None:
    stamps = weekdays(months(count, every), back)
    gaps = [stamp for place, stamp in enumerate(stamps) if place % 7 != 5]

    for each in (stamps, gaps):
        found = find_spacing(frame(each, each[1:]))
        assert found is not None
        assert (str(found.step), found.regular) == (step, 1.0)


def test_months_are_found_where_their_commonest_distance_is_none_of_a_month() -> None:
    first = datetime(2024, 1, 31, tzinfo=UTC)
    days = [0, 33, 60, 93, 120, 153, 182, 215, 242, 274]

    found = find_spacing(frame([first + day * timedelta(days=1) for day in days]))

    assert found is not None
    assert (str(found.step), found.regular) == ("1mo", 1.0)


def test_four_weeks_are_no_month_gaps_and_clock_changes_or_not() -> None:
    stamps = [NEW_YORK + n * timedelta(weeks=4) for n in range(30) if n % 7 != 3]
    thirty = [START + n * timedelta(days=30) for n in range(60) if n % 7 != 3]

    found = [find_spacing(frame([each.astimezone(UTC) for each in stamps])),
             find_spacing(frame(thirty))]  # fmt: skip

    assert [(str(each.step), each.regular) for each in found if each] == [("4w", 1.0), ("30d", 1.0)]


def test_rows_that_jitter_have_the_step_they_jitter_around() -> None:
    stamps = [START + timedelta(seconds=60 * n, milliseconds=n * n % 997) for n in range(300)]

    found = find_spacing(frame(stamps))

    assert found is not None
    assert str(found.step) == "1m"


def test_rows_at_any_moment_are_not_regular() -> None:
    stamps = [START + timedelta(seconds=n * n) for n in range(300)]

    found = find_spacing(frame(stamps))

    assert found is not None
    assert found.regular < 0.5


def test_most_series_decide_not_most_rows() -> None:
    minutes = [START + n * timedelta(minutes=1) for n in range(1000)]
    hours = [START + n * timedelta(hours=1) for n in range(20)]

    found = find_spacing(frame(minutes, hours, hours))

    assert found is not None
    assert str(found.step) == "1h"


def test_a_row_or_two_have_no_step() -> None:
    assert find_spacing(frame([START], [START], [START, START + timedelta(hours=1)])) is None
    assert find_spacing(frame()) is None


@given(st.integers(1, 10**13), st.sets(st.integers(0, 400), min_size=30, max_size=60))
def test_every_step_is_found_where_every_other_row_follows_the_one_before(
    microseconds: int, missing: set[int]
) -> None:
    at = [n for n in range(400) if n not in missing]

    found = find_spacing(frame([START + timedelta(microseconds=microseconds * n) for n in at]))

    assert found is not None
    assert found.regular == 1.0
    assert is_same_step(found.step, Step(microseconds, "microsecond"))


def test_series_with_different_steps_are_told_apart_most_of_them_first() -> None:
    minutes = [START + n * timedelta(minutes=5) for n in range(60) if n % 9]
    hours = [START + n * timedelta(hours=1) for n in range(60)]

    found = find_spacings(frame(hours, minutes, minutes, [START]))

    assert [(str(spacing.step), names) for spacing, names in found] == [
        ("5m", ["s1", "s2"]),
        ("1h", ["s0"]),
    ]


def test_months_and_days_around_clock_changes_are_one_step() -> None:
    days = [NEW_YORK + n * timedelta(days=1) for n in range(300)]

    assert len(find_spacings(frame(months(40, 1), months(30, 1)))) == 1
    assert len(find_spacings(frame(days, days[100:]))) == 1
