"""Naive forecasts, by hand, and what holds for every baseline."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecaster.baselines.naive import (
    PointForecast,
    drift,
    naive,
    seasonal_naive,
    seasonal_naive_drift,
)
from forecaster.baselines.registry import BASELINES
from forecaster.schemas import QUANTILE_LEVELS

NAN = float("nan")
POINTS = {
    "naive": naive,
    "seasonal_naive": seasonal_naive,
    "drift": drift,
    "seasonal_naive_drift": seasonal_naive_drift,
}
MEDIAN, UPPER = QUANTILE_LEVELS.index(0.5), QUANTILE_LEVELS.index(0.975)
Z = 1.959963984540054
QUICK = [name for name in BASELINES if name != "markov_switching"]
any_baseline = pytest.mark.parametrize("name", BASELINES)
quick_baseline = pytest.mark.parametrize("name", QUICK)

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


def test_drift_is_the_line_through_first_and_last_whatever_lies_between() -> None:
    assert drift(row(1, NAN, NAN, 7, NAN), 2).tolist() == [[11, 13]]
    assert drift(row(NAN, 4), 2).tolist() == [[4, 4]]


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


@pytest.mark.parametrize("baseline", POINTS.values(), ids=POINTS)
@given(context=contexts, season_length=st.integers(1, 24), prediction_length=st.integers(1, 30))
def test_forecasts_are_finite_unless_nothing_was_observed(
    baseline: PointForecast, context: list[float], season_length: int, prediction_length: int
) -> None:
    rows = torch.tensor([context, [NAN] * len(context)])
    forecast = baseline(rows, prediction_length, season_length)
    assert forecast.shape == (2, prediction_length)
    assert forecast[0].isfinite().all().item() is bool(rows[0].isfinite().any())
    assert forecast[1].isnan().all()


@pytest.mark.parametrize("baseline", POINTS.values(), ids=POINTS)
@given(context=contexts, shift=st.integers(-1000, 1000))
def test_forecasts_shift_with_the_data(
    baseline: PointForecast, context: list[float], shift: int
) -> None:
    rows = torch.tensor([context], dtype=torch.float64)
    shifted = baseline(rows + shift, 5, 3)
    torch.testing.assert_close(
        shifted,
        baseline(rows, 5, 3) + shift,
        rtol=0,
        atol=1e-6,  # tolerance: float64, no network
        equal_nan=True,
    )


def standard_deviation(name: str, context: torch.Tensor, steps: int, season: int) -> list[float]:
    """What the upper quantile lies above the median, in standard normal quantiles."""
    found = BASELINES[name](context, steps, season)[0]
    deviations: list[float] = ((found[:, UPPER] - found[:, MEDIAN]) / Z).tolist()
    return deviations


def test_naive_intervals_are_sigma_times_the_root_of_the_step() -> None:
    sigma = math.sqrt((1 + 4 + 1) / 3)
    found = standard_deviation("naive", row(1, 2, 4, 3), 3, 1)
    assert found == pytest.approx([sigma * math.sqrt(h) for h in (1, 2, 3)])


def test_a_gap_before_the_cutoff_widens_the_intervals() -> None:
    sigma = math.sqrt((1 + 4 + 1) / 3)
    found = standard_deviation("naive", row(1, 2, 4, 3, NAN, NAN), 1, 1)
    assert found == pytest.approx([sigma * math.sqrt(3)])


def test_a_gap_inside_counts_as_the_steps_it_took() -> None:
    sigma = math.sqrt((1 + 4 / 2) / 2)
    found = standard_deviation("naive", row(1, 2, NAN, 4), 1, 1)
    assert found == pytest.approx([sigma])


def test_seasonal_intervals_grow_once_a_season() -> None:
    sigma = math.sqrt((1 + 4 + 9 + 0) / 4)
    found = standard_deviation("seasonal_naive", row(1, 5, 2, 7, 5, 7), 5, 2)
    assert found == pytest.approx([sigma * math.sqrt(k + 1) for k in (0, 0, 1, 1, 2)])


def test_drift_intervals_hold_the_uncertainty_of_the_slope() -> None:
    slope = 3 / 4
    changes = (1, 2, -1, 1)
    sigma = math.sqrt(sum((change - slope) ** 2 for change in changes) / 3)
    found = standard_deviation("drift", row(1, 2, 4, 3, 4), 3, 1)
    assert found == pytest.approx([sigma * math.sqrt(h * (1 + h / 4)) for h in (1, 2, 3)])


def test_seasonal_drift_intervals_count_in_seasons() -> None:
    changes = (1, 2, 3, 0)
    sigma = math.sqrt(sum((change - 1.5) ** 2 for change in changes) / 3)
    found = standard_deviation("seasonal_naive_drift", row(1, 5, 2, 7, 5, 7), 3, 2)
    expected = [sigma * math.sqrt(k * (1 + k / 4)) for k in (1, 1, 2)]
    assert found == pytest.approx(expected)


def test_a_season_never_seen_is_as_uncertain_as_a_walk_over_its_length() -> None:
    found = standard_deviation("seasonal_naive", row(0, 1, 0, 1), 4, 6)
    assert found == pytest.approx([1, math.sqrt(2), math.sqrt(6), math.sqrt(6)])


@pytest.mark.parametrize("name", POINTS)
@given(context=contexts, season_length=st.integers(1, 24))
def test_the_median_of_a_naive_forecast_is_its_point(
    name: str, context: list[float], season_length: int
) -> None:
    rows = torch.tensor([context], dtype=torch.float64)
    median = BASELINES[name](rows, 7, season_length)[..., MEDIAN]
    expected = POINTS[name](rows, 7, season_length)
    torch.testing.assert_close(
        median,
        expected,
        rtol=1e-9,
        atol=1e-9,
        equal_nan=True,  # tolerance: float64, no network
    )


AWKWARD = {
    "nothing": [NAN] * 40,
    "infinite": [math.inf, -math.inf] * 20,
    "one": [NAN] * 39 + [3.0],
    "one, long ago": [3.0] + [NAN] * 39,
    "constant": [5.0] * 40,
    "huge": [1.0] * 20 + [1e300] + [1.0] * 19,
    "swinging": [1.7e308, -1.7e308] * 20,
    "tiny": [0.0, 5e-324] * 20,
    "holes": [1.0, NAN, 4.0, NAN] * 10,
    "line": [float(n) for n in range(40)],
}


@any_baseline
@pytest.mark.parametrize("season_length", [1, 4, 7, 60])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.filterwarnings("ignore::forecaster.baselines.markov_switching.UnfittedWarning")
def test_a_baseline_answers_whatever_it_is_given(
    name: str, season_length: int, dtype: torch.dtype
) -> None:
    if name == "markov_switching":
        pytest.importorskip("statsmodels")
    rows = torch.tensor(list(AWKWARD.values()), dtype=torch.float64).to(dtype)
    found = BASELINES[name](rows, 9, season_length)
    assert found.shape == (len(AWKWARD), 9, len(QUANTILE_LEVELS))
    assert found.dtype == dtype
    known = rows.isfinite().any(1)
    assert bool(found[known].isfinite().all())
    assert bool((found[known].diff(dim=2) >= 0).all())
    assert bool(found[~known].isnan().all())
    assert bool((found[list(AWKWARD).index("constant")] == 5).all())


@any_baseline
def test_no_windows_have_no_forecasts(name: str) -> None:
    assert BASELINES[name](torch.empty(0, 8), 3, 2).shape == (0, 3, len(QUANTILE_LEVELS))


@quick_baseline
@given(context=contexts, season_length=st.integers(1, 24), prediction_length=st.integers(1, 30))
def test_quantiles_ascend_and_are_the_same_every_time(
    name: str, context: list[float], season_length: int, prediction_length: int
) -> None:
    rows = torch.tensor([context])
    found = BASELINES[name](rows, prediction_length, season_length)
    assert found.isfinite().all().item() is bool(rows.isfinite().any())
    assert not bool((found.diff(dim=2) < 0).any())
    torch.testing.assert_close(
        found,
        BASELINES[name](rows, prediction_length, season_length),
        rtol=0,
        atol=0,
        equal_nan=True,
    )


@quick_baseline
@given(
    seed=st.integers(0, 1000),
    shift=st.floats(-100, 100),
    factor=st.floats(0.5, 100),
    season=st.sampled_from([1, 3]),
)
def test_quantiles_move_and_stretch_with_the_data(
    name: str, seed: int, shift: float, factor: float, season: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(3, 30, generator=generator, dtype=torch.float64).cumsum(1)
    expected = BASELINES[name](rows, 5, season) * factor + shift
    found = BASELINES[name](rows * factor + shift, 5, season)
    torch.testing.assert_close(
        found,
        expected,
        rtol=0,
        atol=1e-6 * factor,  # tolerance: float64, no network
    )


@quick_baseline
def test_other_series_do_not_matter(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, 30, generator=generator, dtype=torch.float64).cumsum(1)
    rows[1, 25:] = NAN
    rows[2] = NAN
    together = BASELINES[name](rows, 5, 3)
    alone = BASELINES[name](rows[:1], 5, 3)
    torch.testing.assert_close(
        together[:1],
        alone,
        rtol=0,
        atol=1e-12,  # tolerance: float64, no network
    )
