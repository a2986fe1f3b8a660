"""Seasons: found where they are, and only there."""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from forecaster.data.anchor import detect_grid
from forecaster.data.panel import Panel, build
from forecaster.data.seasonality import Seasons, candidates, detect_seasons
from forecaster.schemas import INSTANT, OBSERVATIONS
from forecaster.times.durations import Step
from tests.data.observed import MONDAY, observed, shared_series

NONE = Seasons(season_length=1, long_season=1)


def seasons(observations: pl.DataFrame, step: str, timezone: str = "UTC") -> Seasons:
    parsed = Step.parse(step)
    grid = detect_grid(observations, parsed, timezone)
    panel: Panel = build(observations, grid)
    return detect_seasons(panel, parsed)


def made(length: int, *periods: int, noise: float = 0.5, series: int = 1) -> dict[str, list[float]]:
    """Sums of one random pattern per period, with noise."""
    random = np.random.default_rng(len(periods) + length)
    patterns = [np.resize(random.normal(size=period), length) for period in periods]
    return {
        f"s{number}": (sum(patterns) + random.normal(0, noise, length)).tolist()
        for number in range(series)
    }


@pytest.mark.parametrize(
    ("step", "lengths"),
    [
        ("1m", (60, 1440, 10080)),
        ("90s", (40, 960, 6720)),
        ("5m", (12, 288, 2016)),
        ("7m", (1440,)),
        ("30m", (2, 48, 336)),
        ("1h", (24, 168)),
        ("6h", (4, 28)),
        ("1d", (7,)),
        ("2d", ()),
        ("1w", (52,)),
        ("2w", (26,)),
        ("1mo", (12,)),
        ("3mo", (4,)),
        ("1y", ()),
    ],
)
def test_candidates_are_whole_hours_days_weeks_and_years(
    step: str, lengths: tuple[int, ...]
) -> None:
    assert candidates(Step.parse(step)) == lengths


@pytest.mark.parametrize(
    ("step", "every", "length", "periods", "found"),
    [
        ("1h", timedelta(hours=1), 1500, (24,), (24, 168)),
        ("1h", timedelta(hours=1), 1500, (24, 168), (24, 168)),
        ("1h", timedelta(hours=1), 1500, (168,), (168, 168)),
        ("5m", timedelta(minutes=5), 4000, (12,), (12, 12)),
        ("5m", timedelta(minutes=5), 12_000, (12,), (12, 12)),
        ("5m", timedelta(minutes=5), 4000, (288,), (288, 288)),
        ("15m", timedelta(minutes=15), 700, (4,), (4, 4)),
        ("30m", timedelta(minutes=30), 900, (2, 48), (48, 48)),
        ("12h", timedelta(hours=12), 100, (2,), (2, 14)),
        ("5m", timedelta(minutes=5), 12_000, (12, 288, 2016), (288, 2016)),
        ("1m", timedelta(minutes=1), 40_000, (60, 1440, 10_080), (60, 1440)),
        ("7m", timedelta(minutes=7), 6000, (1440,), (1440, 1440)),
        ("90s", timedelta(seconds=90), 6000, (960,), (960, 960)),
    ],
)
def test_the_shortest_and_the_longest_season_are_found(
    step: str, every: timedelta, length: int, periods: tuple[int, ...], found: tuple[int, int]
) -> None:
    found_seasons = seasons(observed(made(length, *periods), every=every), step)
    assert (found_seasons.season_length, found_seasons.long_season) == found


def test_a_smooth_day_is_not_taken_for_an_hour() -> None:
    minutes = np.arange(1440 * 8)
    smooth = {"s": np.sin(2 * np.pi * minutes / 1440).tolist()}
    assert seasons(observed(smooth, every=timedelta(minutes=1)), "1m").season_length == 1440


@pytest.mark.parametrize("length", [12, 25, 60, 200, 2000])
@pytest.mark.parametrize(("step", "every"), [("1d", 24), ("12h", 12), ("1h", 1)])
def test_noise_has_no_season(length: int, step: str, every: int) -> None:
    found = [
        seasons(observed({"s": points}, every=timedelta(hours=every)), step)
        for points in np.random.default_rng(7).normal(size=(20, length)).tolist()
    ]
    assert found.count(NONE) >= 18


def test_a_random_walk_and_a_trend_have_no_season() -> None:
    walk = np.random.default_rng(5).normal(size=3000).cumsum().tolist()
    assert seasons(observed({"s": walk}), "1h") == NONE
    assert seasons(observed({"s": list(map(float, range(3000)))}), "1h") == NONE


def test_a_season_survives_gaps_trends_and_outliers() -> None:
    points = made(1500, 24)["s0"]
    random = np.random.default_rng(1)
    worn = [
        None if random.random() < 0.3 else point + 0.05 * position
        for position, point in enumerate(points)
    ]
    worn[200:300] = [None] * 100
    worn[700] = 1e12
    assert seasons(observed({"s": worn}), "1h").season_length == 24


def test_constant_empty_and_short_series_abstain() -> None:
    beside: dict[str, list[float | None]] = {
        "constant": [3.0] * 1500,
        "constant too": [0.0] * 1500,
        "empty": [None] * 1500,
        "short": [1.0, 2.0, 3.0],
    }
    assert seasons(observed({**made(1500, 24), **beside}), "1h").season_length == 24
    assert seasons(observed(beside), "1h") == NONE


def test_a_series_that_ended_long_ago_still_votes() -> None:
    assert (
        seasons(observed({**made(400, 24), "x": [None] * 5000 + [1.0]}), "1h").season_length == 24
    )


def test_the_majority_decides() -> None:
    noise = np.random.default_rng(3).normal(size=(3, 1500)).tolist()
    flat = {f"flat{number}": points for number, points in enumerate(noise)}
    assert seasons(observed({**flat, **made(1500, 24, series=2)}), "1h") == NONE
    assert seasons(observed({**flat, **made(1500, 24, series=5)}), "1h").season_length == 24


def test_two_cycles_are_too_few() -> None:
    assert seasons(observed(made(2 * 168 + 100, 168)), "1h") == NONE


def test_no_observations_have_no_season() -> None:
    grid = detect_grid(observed({"s": [1.0]}), Step.parse("1h"), "UTC")
    nothing = build(observed({}), grid)
    assert detect_seasons(nothing, Step.parse("1h")) == NONE


def test_weeks_that_start_on_a_saturday_have_a_year() -> None:
    saturday = MONDAY - timedelta(days=2)
    weeks = observed(made(400, 52), first=saturday, every=timedelta(weeks=1))
    assert seasons(weeks, "1w").season_length == 52


def test_days_in_a_local_zone_have_a_week() -> None:
    zone = ZoneInfo("Europe/Berlin")
    points = made(400, 7)["s0"]
    midnights = [
        datetime(2023, 1, 1, tzinfo=zone) + timedelta(days=day) for day in range(len(points))
    ]
    days = pl.DataFrame(
        {"series_id": "s", "timestamp": midnights, "value": points},
        schema_overrides={"timestamp": pl.Datetime("us", "Europe/Berlin")},
    ).with_columns(pl.col("timestamp").cast(INSTANT))
    assert seasons(days.select(OBSERVATIONS.names()), "1d", "Europe/Berlin").season_length == 7


def test_months_have_a_year() -> None:
    months = pl.datetime_range(
        MONDAY.replace(year=2010), MONDAY, "1mo", time_unit="us", time_zone="UTC", eager=True
    )
    points = made(len(months), 12)["s0"]
    series = pl.DataFrame({"series_id": "s", "timestamp": months, "value": points})
    assert seasons(series, "1mo").season_length == 12


@pytest.mark.parametrize(
    ("name", "step", "found"),
    [
        ("etth1", "1h", (24, 168)),
        ("m4_hourly", "1h", (24, 168)),
        ("bike_sharing", "1h", (24, 168)),
        ("exchange_rate", "1d", (1, 1)),
        ("nab_aws_cloudwatch", "5m", (1, 1)),
    ],
)
def test_seasons_of_real_sets(
    shared_data: Path, name: str, step: str, found: tuple[int, int]
) -> None:
    result = seasons(shared_series(shared_data / f"{name}.parquet"), step)
    assert (result.season_length, result.long_season) == found


def test_weekly_carbon_dioxide_has_a_year() -> None:
    co2 = pytest.importorskip("statsmodels.datasets.co2")
    weekly = co2.load_pandas().data["co2"]
    series = pl.DataFrame(
        {"series_id": "co2", "timestamp": weekly.index.to_numpy(), "value": weekly.to_numpy()}
    ).with_columns(pl.col("timestamp").dt.replace_time_zone("UTC").cast(INSTANT))
    result = seasons(series, "1w")
    assert (result.season_length, result.long_season) == (52, 52)
