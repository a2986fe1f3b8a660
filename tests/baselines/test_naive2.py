"""Naive2: worked examples, and what becomes of gaps."""

import math

import numpy as np
import pytest
import torch

from forecaster.baselines.naive2 import (
    is_seasonal,
    naive2,
    naive2_quantiles,
    seasonal_indices,
)
from forecaster.schemas import QUANTILE_LEVELS

NAN = math.nan
SEASON = [8.0, 12.0, 10.0, 10.0]


def test_indices_of_an_exact_season_are_its_factors() -> None:
    factors = np.array([0.5, 1.5, 1.0, 1.0])
    history = 10 * np.tile(factors, 6)

    indices = seasonal_indices(history, 4)

    np.testing.assert_allclose(indices, factors, rtol=1e-7)  # tolerance: float64, no network


def test_indices_count_a_last_season_that_is_not_whole() -> None:
    history = np.tile([0.5, 1.5, 1.0], 7)[:-1]

    indices = seasonal_indices(history, 3)

    np.testing.assert_allclose(
        indices, [0.5, 1.5, 1.0], rtol=1e-7
    )  # tolerance: float64, no network


def test_naive2_goes_on_in_the_phase_of_the_last_value() -> None:
    history = np.tile(SEASON, 6)[:-1]

    forecast = naive2(history, 6, 4)

    expected = [10.0, 8.0, 12.0, 10.0, 10.0, 8.0]
    np.testing.assert_allclose(forecast, expected, rtol=1e-7)  # tolerance: float64, no network


def test_naive2_repeats_the_last_value_where_no_season_shows() -> None:
    history = np.random.default_rng(0).normal(100, 1, 200)

    forecast = naive2(history, 3, 7)

    np.testing.assert_array_equal(forecast, np.full(3, history[-1]))


def test_naive2_repeats_the_last_value_where_factors_make_no_sense() -> None:
    history = np.tile([-1.0, 1.0, 0.0, 5.0], 6)

    np.testing.assert_array_equal(naive2(history, 3, 4), [5.0, 5.0, 5.0])


@pytest.mark.parametrize(
    "history",
    [np.full(100, 5.0), np.tile([1.0, 2.0, 3.0, 4.0], 3)[:-1]],
    ids=["constant", "less than three seasons"],
)
def test_a_history_that_cannot_show_a_season_is_not_seasonal(
    history: np.ndarray,
) -> None:
    assert not is_seasonal(history, 4)


def test_rows_with_gaps_stay_in_their_phase_and_empty_ones_say_nothing() -> None:
    whole = torch.tensor(SEASON * 6, dtype=torch.float64)
    young, ended = whole.clone(), whole.clone()
    young[:3] = NAN
    ended[-2:] = NAN
    rows = torch.stack((whole, young, ended, torch.full((24,), NAN, dtype=torch.float64)))

    found = naive2_quantiles(rows, 5, 4)

    assert found.shape == (4, 5, len(QUANTILE_LEVELS))
    expected = torch.tensor([8.0, 12, 10, 10, 8], dtype=torch.float64)
    for row in range(3):
        torch.testing.assert_close(found[row, :, 0], expected, rtol=0.02, atol=0)
        assert bool((found[row] == found[row, :, :1]).all())
    assert bool(found[3].isnan().all())
