"""Scores of the published tables, on small examples worked by hand."""

import numpy as np
import pytest

from benchmarks import scores
from forecaster.schemas import QUANTILE_LEVELS


def test_nine_are_the_levels_of_the_published_tables() -> None:
    levels = np.array(QUANTILE_LEVELS)

    chosen = scores.nine(levels[None, None])

    np.testing.assert_allclose(
        chosen[0, 0], np.arange(1, 10) / 10, rtol=1e-7
    )  # tolerance: float64, no network


def test_the_wql_of_a_point_forecast_is_its_absolute_error_over_the_size() -> None:
    actual = np.array([[1.0, 3.0], [4.0, np.nan]])
    said = np.array([[2.0, 3.0], [2.0, 7.0]])

    found = scores.wql(actual, scores.point(said))

    assert found == pytest.approx((1 + 0 + 2) / (1 + 3 + 4))


def test_all_levels_keep_the_nine_and_repeat_the_outermost() -> None:
    quantiles = np.arange(9.0)[None, None]

    found = scores.all_levels(quantiles)

    np.testing.assert_array_equal(scores.nine(found), quantiles)
    np.testing.assert_array_equal(found[0, 0, [0, 1, -2, -1]], [0, 0, 8, 8])


@pytest.mark.parametrize(("width", "covers"), [(0.5, True), (0.0, False)])
def test_only_quantiles_that_differ_have_a_coverage(width: float, covers: bool) -> None:
    found = {"mase": 1.0, "smape": 2.0, "wql": 3.0, "coverage_80": 0.8, "width_80": width}

    row = scores.published(found, 0.1)

    assert row["wql"] == 0.1
    assert ("coverage_80" in row) == covers


def test_owa_is_one_for_naive2_itself() -> None:
    naive2 = {"smape": 18.383, "mase": 2.395}

    assert scores.with_owa(naive2, naive2)["owa"] == 1


@pytest.mark.parametrize(
    ("length", "horizon", "windows"),
    [(17_420, 48, 20), (17_420, 480, 4), (17_420, 720, 3), (480, 48, 1), (481, 48, 2), (5, 48, 1)],
)
def test_gift_takes_a_tenth_of_the_data_in_at_most_twenty_windows(
    length: int, horizon: int, windows: int
) -> None:
    assert scores.gift_windows(length, horizon) == windows


def test_the_mean_forecast_is_taken_level_by_level() -> None:
    low, high = np.zeros((1, 1, 9)), np.arange(9.0)[None, None]

    np.testing.assert_array_equal(scores.mean_forecast([low, high]), high / 2)
