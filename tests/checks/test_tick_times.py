"""What `check --data` says where forecasts are due at other times than steps begin."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from forecaster.checks.tick_times import check_ticks
from forecaster.data.timestamp_marks import grid_of
from forecaster.schemas import OBSERVATIONS
from forecaster.times.durations import Step
from tests.config.configs import parsed

NOW = datetime(2026, 11, 29, 18, tzinfo=UTC)
DAY = timedelta(days=1)
SUNDAYS = [datetime(2025, 1, 5, tzinfo=UTC) + n * 7 * DAY for n in range(99)]
BERLIN = ZoneInfo("Europe/Berlin")


def days(hour: int, minute: int = 0) -> list[datetime]:
    return [datetime(2026, 1, 1, hour, minute, tzinfo=UTC) + n * DAY for n in range(332)]


def months(day: int, every: int = 1) -> list[datetime]:
    return [
        datetime(2020 + n // 12, n % 12 + 1, day, tzinfo=UTC) for n in range(1, 82, every)
    ]  # up to October 2026


def hint_of(step: str, stamps: list[datetime], settings: str = "", delay: str = "0s") -> str | None:
    text = f'database_url = "sqlite:///f.db"\n[datasets.x]\nstep = "{step}"\n{settings}\n'
    dataset = parsed(f'{text}prediction_length = 2\ndelay = "{delay}"\n').datasets["x"]
    rows = pl.DataFrame([("a", each, 1.0) for each in stamps], schema=OBSERVATIONS, orient="row")
    grid = grid_of(rows, Step.parse(step), dataset.timezone or "UTC")
    found = check_ticks(grid, dataset, dataset.delay, NOW)
    return found[0].hint if found else None


@pytest.mark.parametrize(
    ("step", "stamps", "delay", "cron"),
    [
        ("1w", SUNDAYS, "0s", "0 0 * * sun"),
        ("1w", [each + 10 * DAY / 24 for each in SUNDAYS], "15h", "0 1 * * mon"),
        ("1w", [each + 3.25 * DAY for each in SUNDAYS], "15m", "15 6 * * wed"),
        ("1d", days(6), "0s", "0 6 * * *"),
        ("1d", days(6, 30), "1d15m", "45 6 * * *"),
        ("1mo", months(26), "0s", "0 0 26 * *"),
        ("3mo", months(1, 3), "0s", "0 0 1 2,5,8,11 *"),
        ("3mo", months(15, 3), "1d", "0 0 16 2,5,8,11 *"),
    ],
)
def test_the_cron_that_fits_is_named_where_steps_begin_elsewhere(
    step: str, stamps: list[datetime], delay: str, cron: str
) -> None:
    expected = f'set forecast_cron = "{cron}" instead of forecast_every'

    assert hint_of(step, stamps, delay=delay) == expected
    assert hint_of(step, stamps, f'forecast_cron = "{cron}"', delay) is None


def test_the_zone_that_fits_is_named_where_days_begin_at_another_midnight() -> None:
    at_berlin = [datetime(2026, 1, 1, tzinfo=BERLIN) + n * DAY for n in range(332)]

    assert (
        hint_of("1d", days(0), 'timezone = "America/New_York"') == 'set schedule_timezone = "UTC"'
    )
    assert hint_of("1d", at_berlin, 'timezone = "Europe/Berlin"') is None
    hint = hint_of("1d", days(6), 'timezone = "America/New_York"')
    assert hint == (
        'set forecast_cron = "0 6 * * *" instead of forecast_every, and schedule_timezone = "UTC"'
    )


@pytest.mark.parametrize(
    ("step", "stamps", "settings"),
    [
        ("1d", days(0), ""),
        ("1d", days(23, 59), ""),
        ("1d", days(6), 'forecast_every = "6h"'),
        ("1w", [each + DAY for each in SUNDAYS], ""),
        ("1w", SUNDAYS, 'forecast_every = "1d"'),
        ("1mo", months(1), ""),
        ("1mo", [each - DAY for each in months(1)], ""),
        ("3mo", [each for each in months(1) if each.month % 3 == 1], ""),
        ("2w", SUNDAYS[::2], ""),
        ("1h", [NOW - n * DAY / 24 for n in range(100, 0, -1)], ""),
    ],
)
def test_nothing_is_said_where_ticks_fit_or_no_cron_would(
    step: str, stamps: list[datetime], settings: str
) -> None:
    assert hint_of(step, stamps, settings) is None
