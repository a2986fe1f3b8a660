"""Naive2: worked examples, and the published score on the data it was published for."""

import numpy as np
import pytest

from benchmarks import protocols, scores
from benchmarks.naive2 import is_seasonal, naive2, seasonal_indices


def test_indices_of_an_exact_season_are_its_factors() -> None:
    factors = np.array([0.5, 1.5, 1.0, 1.0])
    history = 10 * np.tile(factors, 6)

    indices = seasonal_indices(history, 4)

    np.testing.assert_allclose(indices, factors)


def test_indices_count_a_last_season_that_is_not_whole() -> None:
    history = np.tile([0.5, 1.5, 1.0], 7)[:-1]

    indices = seasonal_indices(history, 3)

    np.testing.assert_allclose(indices, [0.5, 1.5, 1.0])


def test_naive2_goes_on_in_the_phase_of_the_last_value() -> None:
    season = np.array([8.0, 12.0, 10.0, 10.0])
    history = np.tile(season, 6)[:-1]

    forecast = naive2(history, 6, 4)

    np.testing.assert_allclose(forecast, [10.0, 8.0, 12.0, 10.0, 10.0, 8.0])


def test_naive2_repeats_the_last_value_where_no_season_shows() -> None:
    history = np.random.default_rng(0).normal(100, 1, 200)

    forecast = naive2(history, 3, 7)

    np.testing.assert_array_equal(forecast, np.full(3, history[-1]))


@pytest.mark.parametrize(
    "history",
    [np.full(100, 5.0), np.tile([1.0, 2.0, 3.0, 4.0], 3)[:-1]],
    ids=["constant", "less than three seasons"],
)
def test_a_history_that_cannot_show_a_season_is_not_seasonal(
    history: np.ndarray,
) -> None:
    assert not is_seasonal(history, 4)


@pytest.mark.usefixtures("real_data")
def test_naive2_has_its_published_score_on_m4_hourly() -> None:
    trial = protocols.Trial(protocols.M4)

    said = np.stack([naive2(trial.seen(row), 48, 24) for row in range(len(trial.panel))])

    found = trial.backtest({"naive2": trial.said(scores.point(said))}).of("naive2")
    assert found is not None
    assert (round(found["smape"], 3), round(found["mase"], 3)) == (18.383, 2.395)
