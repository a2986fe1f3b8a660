"""Rows that stop every night or on Sundays: what is closed is no gap."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch

from forecaster.durations import Step
from forecaster.series.anchor import detect_grid
from forecaster.series.baselines import drift, seasonal_naive, seasonal_naive_drift
from forecaster.series.panel import build
from forecaster.series.season import Seasons, detect_seasons
from tests.core.opening import Parking

NAN = float("nan")
NONE = Seasons(season_length=1, long_season=1)


def seasons(observations: pl.DataFrame, step: str, timezone: str = "UTC") -> Seasons:
    parsed = Step.parse(step)
    return detect_seasons(build(observations, detect_grid(observations, parsed, timezone)), parsed)


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize(
    ("step", "opens", "days", "weeks", "zone", "found"),
    [
        ("30m", (480, 1200), 7, 6, "UTC", (48, 336)),  # 8:00-20:00
        ("30m", (480, 1230), 7, 6, "UTC", (48, 336)),  # 8:00-20:30
        ("30m", (450, 990), 7, 6, "UTC", (48, 336)),  # 7:30-16:30
        ("30m", (480, 1200), 6, 8, "UTC", (48, 336)),  # closed on Sundays
        ("1h", (540, 1020), 5, 26, "Europe/Berlin", (24, 168)),  # office hours, clocks change
        ("15m", (1080, 1560), 7, 6, "UTC", (96, 672)),  # over midnight
        ("10m", (600, 720), 7, 8, "UTC", (144, 1008)),  # two hours a day
        ("30m", (480, 1200), 7, 2, "UTC", (48, 48)),  # two weeks
    ],
)
def test_a_day_of_few_open_hours_is_a_season(
    step: str, opens: tuple[int, int], days: int, weeks: int, zone: str, found: tuple[int, int]
) -> None:
    minutes = int(Step.parse(step).approximate / timedelta(minutes=1))
    rows = Parking(opens=opens, step=minutes, days=days, weeks=weeks, zone=zone, outages=2).rows()
    assert seasons(rows, step, zone) == Seasons(season_length=found[0], long_season=found[1])


def test_noise_within_opening_hours_has_no_season() -> None:
    random = np.random.default_rng(3)
    found = []
    for seed in range(20):
        rows = Parking(series=1, seed=seed).rows()
        noise = pl.Series("value", random.normal(size=len(rows)))
        found.append(seasons(rows.with_columns(noise), "30m"))
    assert found.count(NONE) >= 18


def test_a_random_walk_within_opening_hours_has_no_season() -> None:
    random = np.random.default_rng(5)
    rows = Parking(series=3, weeks=8).rows()
    walk = pl.Series("value", random.normal(size=len(rows)).cumsum())
    assert seasons(rows.with_columns(walk), "30m") == NONE


def test_drift_over_gaps_is_the_line_through_first_and_last() -> None:
    opening = row(1, 5, NAN, NAN, 2, 6, NAN, NAN, 3, 7)  # rises while open, falls unseen
    assert seasonal_naive_drift(opening, 2, 1).tolist() == drift(opening, 2).tolist()


def test_drift_counts_changes_over_several_seasons() -> None:
    assert seasonal_naive_drift(row(0, 10, NAN, NAN, 4, 14), 2, 2).tolist() == [[6, 16]]


def test_few_pairs_a_season_apart_are_no_drift() -> None:
    context = row(1, NAN, NAN, NAN, 9, 2, 3, 4)
    assert seasonal_naive_drift(context, 4, 4).tolist() == seasonal_naive(context, 4, 4).tolist()
