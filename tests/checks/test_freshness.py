"""How late rows come, as `check --data` tells it: by arrival, and by the calendar of the rows."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from forecaster.checks.freshness import Freshness, check
from forecaster.config.settings import DatasetConfig
from forecaster.data.timestamp_marks import grid_of
from forecaster.schemas import INSTANT
from forecaster.times.durations import Step
from tests.config.configs import parsed

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2026, 6, 1, tzinfo=UTC)
WEEKDAYS = [START + n * DAY for n in range(400) if (START + n * DAY).weekday() < 5]
OPEN = [START + n * HOUR for n in range(9600)
        if (START + n * HOUR).weekday() < 5 and 8 <= n % 24 < 18]  # fmt: skip
HOURS = [START + n * HOUR for n in range(9600)]
MONTHS = [datetime(2020 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(120)]
THIRTIETHS = [each.replace(day=30 if each.month != 2 else 28) for each in MONTHS]
LAST_WEEKDAYS = [
    last - max(0, last.weekday() - 4) * DAY for last in (each - DAY for each in MONTHS)
]


def told(step: str, stamps: list[datetime], now: str, *more: pl.DataFrame) -> Freshness:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    rows = pl.concat([rows_of("a", [each for each in stamps if each <= at]), *more])
    return judged(step, rows.sort("series_id", "timestamp"), at)


def rows_of(name: str, stamps: list[datetime]) -> pl.DataFrame:
    return pl.DataFrame(
        {"series_id": name, "timestamp": pl.Series(stamps, dtype=INSTANT), "value": 1.0}
    )


def judged(
    step: str,
    rows: pl.DataFrame,
    at: datetime,
    versions: pl.DataFrame | None = None,
    arrivals: pl.DataFrame | None = None,
) -> Freshness:
    grid = grid_of(rows, Step.parse(step), "UTC")
    return check(rows, grid, dataset_of(step), at, versions, arrivals)


def dataset_of(step: str) -> DatasetConfig:
    text = f'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "{step}"\n'
    return parsed(text + "prediction_length = 2\n").datasets["x"]


@pytest.mark.parametrize(
    ("step", "stamps", "now"),
    [
        ("1d", WEEKDAYS, "2026-11-29T18:00"),  # a Sunday
        ("1d", WEEKDAYS, "2026-11-28T09:00"),
        ("1d", WEEKDAYS, "2026-11-30T00:00"),
        ("1h", OPEN, "2026-11-29T18:00"),
        ("1h", OPEN, "2026-11-26T03:00"),
        ("1h", OPEN, "2026-11-26T23:59"),
        ("1mo", MONTHS, "2026-11-29T18:00"),
        ("1mo", THIRTIETHS, "2026-11-30T05:00"),
        ("1mo", THIRTIETHS, "2026-11-29T05:00"),
        ("1mo", LAST_WEEKDAYS, "2026-11-29T05:00"),
        ("3mo", MONTHS[::3], "2026-12-29T05:00"),
        ("1y", MONTHS[::12], "2026-12-29T05:00"),
        ("1h", HOURS, "2026-11-26T03:00"),
    ],
)
def test_nothing_is_said_where_no_row_is_due(step: str, stamps: list[datetime], now: str) -> None:
    assert told(step, stamps, now) == Freshness(findings=())


@pytest.mark.parametrize("now", ["2026-11-24T09:00", "2026-11-24T23:00"])
def test_one_day_without_rows_may_be_a_holiday(now: str) -> None:
    without = [each for each in WEEKDAYS if each < datetime(2026, 11, 23, tzinfo=UTC)]
    open_without = [each for each in OPEN if each < datetime(2026, 11, 23, tzinfo=UTC)]

    assert told("1d", without, now) == Freshness(findings=())
    assert told("1h", open_without, "2026-11-23T20:00") == Freshness(findings=())


@pytest.mark.parametrize(
    ("step", "stamps", "last", "now", "delay"),
    [
        ("1h", HOURS, "2026-11-26T00:00", "2026-11-26T03:30", timedelta(hours=2, minutes=30)),
        ("1d", WEEKDAYS, "2026-11-20T00:00", "2026-11-25T06:00", timedelta(days=1, hours=6)),
        ("1mo", MONTHS, "2026-09-01T00:00", "2026-11-03T00:00", timedelta(days=2)),
    ],
)
def test_rows_that_are_lacking_tell_how_late_they_are_at_least(
    step: str, stamps: list[datetime], last: str, now: str, delay: timedelta
) -> None:
    end = datetime.fromisoformat(last).replace(tzinfo=UTC)
    found = told(step, [each for each in stamps if each <= end], now)

    assert found.delay == delay
    assert "rows arrive at least" in found.findings[0].message


def test_one_dead_series_among_live_ones_tells_nothing_of_the_delay() -> None:
    dead = rows_of("dead", HOURS[:4280])

    assert told("1h", HOURS, "2026-11-26T12:00", dead).delay is None


def test_rows_of_the_future_are_counted_and_tell_nothing() -> None:
    at = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)
    stamps = [each for each in HOURS if each <= at]
    found = judged("1h", rows_of("a", [*stamps, at + 400 * DAY]), at)

    assert found.delay is None
    assert [each.message.split(":")[0] for each in found.findings] == [
        "1 rows have timestamps in the future, up to 2027-12-31 12"
    ]


@pytest.mark.parametrize(("late", "delay"), [(1, None), (70, timedelta(hours=1)), (190, 3 * HOUR)])
def test_arrivals_tell_how_late_rows_are_whatever_the_newest_says(
    late: int, delay: timedelta | None
) -> None:
    at = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)
    stamps = [each for each in HOURS if each <= at]
    versions = rows_of("a", stamps).with_columns(
        recorded_at=pl.col("timestamp") + timedelta(minutes=late)
    )
    found = judged("1h", rows_of("a", stamps), at, versions)

    assert found.delay == delay


def test_a_history_that_was_read_at_once_tells_nothing_by_arrival() -> None:
    at = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)
    stamps = [each for each in HOURS if each <= at]
    versions = rows_of("a", stamps).with_columns(recorded_at=pl.lit(at, dtype=INSTANT))

    assert judged("1h", rows_of("a", stamps), at, versions) == Freshness(findings=())


SUNDAY = datetime(2026, 11, 29, 18, tzinfo=UTC)


def by_arrivals(
    step: str, stamps: list[datetime], arrived: list[datetime], *more: pl.DataFrame
) -> Freshness:
    known = rows_of("a", stamps).with_columns(arrived=pl.Series(arrived, dtype=INSTANT))
    known = pl.concat([known, *more]).filter(pl.col("arrived") <= SUNDAY)
    rows = known.drop("arrived").sort("series_id", "timestamp")
    return judged(step, rows, SUNDAY, arrivals=known.drop("value"))


def past(stamps: list[datetime]) -> list[datetime]:
    return [each for each in stamps if each <= SUNDAY]


@pytest.mark.parametrize(("step", "stamps"), [("1d", WEEKDAYS), ("1h", OPEN), ("1h", HOURS)])
@pytest.mark.parametrize("late", [timedelta(), 3 * HOUR])
def test_arrivals_in_the_source_tell_how_late_rows_are(
    step: str, stamps: list[datetime], late: timedelta
) -> None:
    known = past(stamps)

    found = by_arrivals(step, known, [each + late for each in known])

    assert found.delay == (late or None)


def test_rows_that_come_a_day_at_a_time_are_as_late_as_the_first_of_them() -> None:
    known = past(HOURS)
    arrived = [each.replace(hour=0) + DAY + HOUR for each in known]

    found = by_arrivals("1h", known, arrived)

    assert "rows arrive up to 1d1h after" in found.findings[0].message
    assert found.delay == DAY + 6 * HOUR  # rounded up


def test_a_history_that_was_filled_in_at_once_is_left_out_where_rows_arrived_since() -> None:
    known = past(HOURS)
    live, filled = known[-30:], known[-30]
    arrived = [each + 20 * timedelta(minutes=1) for each in live]

    found = by_arrivals("1h", known, [filled] * (len(known) - 30) + arrived)

    assert found.delay == timedelta(minutes=20)


def test_a_history_that_was_filled_in_by_parts_is_left_out_as_well() -> None:
    known = past(HOURS)
    filled = [known[-65] + (place // 200) * HOUR for place in range(len(known) - 40)]
    arrived = [each + HOUR / 3 for each in known[-40:]]

    assert by_arrivals("1h", known, filled + arrived).delay == timedelta(minutes=20)


@pytest.mark.parametrize("since", [0, 5])
def test_rows_that_all_arrived_together_tell_nothing_and_it_is_said(since: int) -> None:
    known = past(HOURS)
    filled = [known[-1] - since * HOUR] * (len(known) - since)
    arrived = known[len(known) - since :]

    found = by_arrivals("1h", known, filled + arrived)

    assert found.delay is None
    assert "this does not show how late rows arrive" in found.findings[0].message


def test_a_few_rows_that_came_late_or_were_corrected_do_not_count() -> None:
    known = past(HOURS)
    late = [each + (9 * DAY if place % 15 == 3 else HOUR / 4) for place, each in enumerate(known)]

    assert by_arrivals("1h", known, late).delay == timedelta(minutes=15)


def test_a_slow_series_of_two_counts() -> None:
    known = past(HOURS)
    slow = rows_of("b", known).with_columns(arrived=pl.col("timestamp") + 2 * HOUR)

    assert by_arrivals("1h", known, known, slow).delay == 2 * HOUR
