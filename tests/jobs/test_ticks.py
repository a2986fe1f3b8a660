"""Ticks lie on the UTC grid of a schedule, whenever somebody looks."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobs.ticks import due_ticks, floor_tick

instants = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
periods = st.integers(1, 10**6).map(lambda seconds: timedelta(seconds=seconds))
HOUR = timedelta(hours=1)


@given(instants, periods)
def test_a_tick_is_the_last_multiple_of_the_period_up_to_now(
    now: datetime, every: timedelta
) -> None:
    tick = floor_tick(now, every)

    assert tick <= now < tick + every
    assert tick.timestamp() % every.total_seconds() == 0


def test_before_a_first_run_only_the_newest_tick_is_due() -> None:
    now = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)

    assert due_ticks(None, now, HOUR) == ([datetime(2026, 11, 20, 9, tzinfo=UTC)], [])


def test_nothing_is_due_twice() -> None:
    tick = datetime(2026, 11, 20, 9, tzinfo=UTC)

    assert due_ticks(tick, tick + timedelta(minutes=59), HOUR) == ([], [])


def test_a_clock_that_was_set_back_makes_nothing_due() -> None:
    tick = datetime(2026, 11, 20, 9, tzinfo=UTC)

    assert due_ticks(tick, tick - timedelta(hours=5), HOUR) == ([], [])


def test_of_a_long_outage_the_most_recent_ticks_run_and_the_others_are_missed() -> None:
    last = datetime(2026, 11, 20, tzinfo=UTC)

    to_run, missed = due_ticks(last, last + 5 * HOUR, HOUR, limit=2)

    assert to_run == [last + 4 * HOUR, last + 5 * HOUR]
    assert missed == [last + HOUR, last + 2 * HOUR, last + 3 * HOUR]


@given(instants, instants, periods, st.integers(1, 50))
def test_due_ticks_are_all_ticks_after_the_last_one(
    last: datetime, later: datetime, every: timedelta, limit: int
) -> None:
    now = min(last + 200 * every, max(last, later))

    to_run, missed = due_ticks(last, now, every, limit=limit)

    due = [*missed, *to_run]
    assert len(to_run) == min(limit, len(due))
    assert all(last < tick <= now and floor_tick(tick, every) == tick for tick in due)
    assert due == sorted(set(due))
    assert len(due) == (floor_tick(now, every) - floor_tick(last, every)) // every
