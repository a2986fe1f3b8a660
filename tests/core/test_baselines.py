"""Naive forecasts, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecaster.series.baselines import Baseline, naive, seasonal_naive, seasonal_naive_drift

torch.set_num_threads(1)
NAN = float("nan")
BASELINES = (naive, seasonal_naive, seasonal_naive_drift)

contexts = st.lists(st.one_of(st.just(NAN), st.floats(-1e3, 1e3)), min_size=1, max_size=20)


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_naive_repeats_the_last_observed_value() -> None:
    context = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, NAN]])
    assert naive(context, 2).tolist() == [[3, 3], [5, 5]]


def test_seasonal_naive_repeats_the_last_season() -> None:
    assert seasonal_naive(row(9, 1, 2, 3), 5, 3).tolist() == [[1, 2, 3, 1, 2]]


def test_seasonal_naive_looks_further_back_where_the_last_season_has_a_gap() -> None:
    assert seasonal_naive(row(1, 2, 3, 4, NAN, 6), 3, 3).tolist() == [[4, 2, 6]]


def test_seasonal_naive_falls_back_to_the_last_value() -> None:
    assert seasonal_naive(row(NAN, 2, 3, NAN), 4, 4).tolist() == [[3, 2, 3, 3]]


def test_a_context_shorter_than_the_season_repeats_what_it_has() -> None:
    assert seasonal_naive(row(7, 8), 4, 4).tolist() == [[8, 8, 7, 8]]


def test_drift_adds_the_average_seasonal_change_for_each_season_passed() -> None:
    context = row(0, 10, 1, 11, 2, 12)
    assert seasonal_naive_drift(context, 4, 2).tolist() == [[3, 13, 4, 14]]


def test_drift_counts_the_seasons_since_the_value_it_repeats() -> None:
    context = row(0, 10, 1, 11, 2, NAN)
    assert seasonal_naive_drift(context, 2, 2).tolist() == [[3, 13]]


def test_drift_without_a_season_is_the_line_through_first_and_last() -> None:
    assert seasonal_naive_drift(row(1, 5, 3, 7), 2, 1).tolist() == [[9, 11]]


def test_drift_of_a_context_without_a_pair_is_seasonal_naive() -> None:
    assert (
        seasonal_naive_drift(row(1, 2), 2, 4).tolist() == seasonal_naive(row(1, 2), 2, 4).tolist()
    )


@pytest.mark.parametrize("baseline", BASELINES)
@given(context=contexts, season_length=st.integers(1, 24), prediction_length=st.integers(1, 30))
def test_forecasts_are_finite_unless_nothing_was_observed(
    baseline: Baseline, context: list[float], season_length: int, prediction_length: int
) -> None:
    rows = torch.tensor([context, [NAN] * len(context)])
    forecast = baseline(rows, prediction_length, season_length)
    assert forecast.shape == (2, prediction_length)
    assert forecast[0].isfinite().all().item() is bool(rows[0].isfinite().any())
    assert forecast[1].isnan().all()


@pytest.mark.parametrize("baseline", BASELINES)
@given(context=contexts, shift=st.integers(-1000, 1000))
def test_forecasts_shift_with_the_data(
    baseline: Baseline, context: list[float], shift: int
) -> None:
    rows = torch.tensor([context], dtype=torch.float64)
    shifted = baseline(rows + shift, 5, 3)
    torch.testing.assert_close(
        shifted, baseline(rows, 5, 3) + shift, rtol=0, atol=1e-6, equal_nan=True
    )
