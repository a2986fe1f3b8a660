"""The Markov chain against a loop in numpy, and the model of two regimes against known ones."""

import builtins
import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forecaster.baselines.markov_chain import BINS, SMOOTHING, markov_chain
from forecaster.baselines.markov_switching import UnfittedWarning, markov_switching
from forecaster.baselines.registry import BASELINES
from forecaster.errors import DataError
from forecaster.schemas import QUANTILE_LEVELS
from tests.tolerance import assert_close

NAN = float("nan")
MEDIAN = QUANTILE_LEVELS.index(0.5)


def walks(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, generator=generator, dtype=torch.float64).cumsum(1)


def chain_by_hand(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Count, multiply and invert, one value after the other: (H, Q)."""
    known = np.sort(values[~np.isnan(values)])
    edges = [np.quantile(known, k / BINS) for k in range(1, BINS)]
    bins = [None if math.isnan(v) else sum(edge < v for edge in edges) for v in values]
    occurrence, counts = np.zeros(BINS), np.zeros((BINS, BINS))
    for state in bins:
        if state is not None:
            occurrence[state] += 1 / len(known)
    for before, after in pairwise(bins):
        if before is not None and after is not None:
            counts[before, after] += 1
    transitions = counts + SMOOTHING * occurrence
    transitions /= transitions.sum(1, keepdims=True)
    latest = max(t for t, state in enumerate(bins) if state is not None)
    rows = []
    for step in range(1, steps + 1):
        power = np.linalg.matrix_power(transitions, len(values) - 1 - latest + step)
        probabilities = power[bins[latest]]
        rows.append([_invert(known, probabilities, level) for level in QUANTILE_LEVELS])
    return np.array(rows)


def _invert(known: NDArray[np.float64], probabilities: NDArray[np.float64], level: float) -> float:
    below = 0.0
    for state, probability in enumerate(probabilities):
        if below + probability >= level - 1e-9:  # tolerance: float64, no network
            return float(np.quantile(known, (state + (level - below) / probability) / BINS))
        below += probability
    return float(known[-1])


@pytest.mark.parametrize("seed", range(5))
def test_the_chain_agrees_with_a_loop(seed: int) -> None:
    rows = walks(4, 60, seed).round(decimals=1)
    rows[1, 20:30] = NAN
    rows[2, -7:] = NAN
    rows[3, ::3] = NAN
    found = markov_chain(rows, 6).numpy()
    expected = np.stack([chain_by_hand(row, 6) for row in rows.numpy()])
    np.testing.assert_allclose(
        found, expected, rtol=1e-7, atol=1e-9
    )  # tolerance: float64, no network


def test_the_chain_goes_round_where_the_values_do() -> None:
    rounds = torch.tensor([[0.0, 1.0, 2.0, 3.0] * 20])
    median = BASELINES["markov_chain"](rounds, 4)[0, :, MEDIAN]
    expected = torch.tensor([0.0, 1.0, 2.0, 3.0])
    torch.testing.assert_close(median, expected, rtol=0, atol=0.1)  # tolerance: the width of a bin


def test_far_ahead_the_chain_forgets_where_it_was() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 2000, generator=generator)
    found = BASELINES["markov_chain"](noise, 50)[0, -1]
    expected = torch.tensor(QUANTILE_LEVELS)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)  # tolerance: a finite sample


def test_with_a_season_the_chain_runs_on_seasonal_changes() -> None:
    rows, season = walks(2, 60), 5
    changes = markov_chain(rows[:, season:] - rows[:, :-season], season)
    expected = rows[:, -season:, None] + changes
    assert_close(markov_chain(rows, 12, season)[:, :season], expected)


def test_further_ahead_the_chain_runs_on_changes_over_more_seasons() -> None:
    rows, season = walks(2, 60), 5
    changes = markov_chain(rows[:, 2 * season :] - rows[:, : -2 * season], 2 * season)
    expected = rows[:, -season:, None] + changes[:, season:]
    assert_close(markov_chain(rows, 12, season)[:, season:10], expected)


def test_a_season_without_a_pair_leaves_the_values_themselves() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0, NAN, NAN, NAN]], dtype=torch.float64)
    assert_close(markov_chain(row, 4, 3), markov_chain(row, 4))


def regimes(length: int, seed: int = 0) -> torch.Tensor:
    """A series that rests near 0 and then near 10, for about 25 steps each."""
    generator = np.random.default_rng(seed)
    state, values = 0, []
    for _ in range(length):
        state = 1 - state if generator.random() < 0.04 else state
        values.append(10 * state + generator.normal())
    return torch.tensor([values])


@pytest.fixture
def statsmodels() -> None:
    pytest.importorskip("statsmodels")


@pytest.mark.usefixtures("statsmodels")
def test_two_regimes_are_told_apart() -> None:
    found = BASELINES["markov_switching"](regimes(300), 200)[0]
    assert float(regimes(300)[0, -1]) > 9  # it has just changed
    assert float(found[0, MEDIAN]) == pytest.approx(10, abs=1.5)  # tolerance: a fit to noise
    assert float(found[-1, 0]) < 1
    assert float(found[-1, -1]) > 9


@pytest.mark.usefixtures("statsmodels")
def test_switching_regimes_move_and_stretch_with_the_data() -> None:
    row = regimes(120)
    row[0, 60:63] = NAN
    expected = BASELINES["markov_switching"](row, 6) * 50 + 7
    found = BASELINES["markov_switching"](row * 50 + 7, 6)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)  # tolerance: an optimiser's


@pytest.mark.usefixtures("statsmodels")
def test_seasonal_changes_add_up_season_after_season() -> None:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 120, generator=generator, dtype=torch.float64)
    seasonal = noise.unflatten(1, (-1, 4)).cumsum(1).flatten(1)
    found = BASELINES["markov_switching"](seasonal, 40, 4)[0]
    width = found[:, -1] - found[:, 0]
    assert float(width[36:].mean() / width[:4].mean()) == pytest.approx(math.sqrt(10), rel=0.15)


@pytest.mark.usefixtures("statsmodels")
def test_what_cannot_be_fitted_is_seasonal_naive_and_told() -> None:
    rows = torch.full((3, 60), 5.0, dtype=torch.float64)
    rows[1, 20:] = NAN
    rows[2] = regimes(60)[0]
    with pytest.warns(UnfittedWarning, match="2 of 3 series: 1 constant, 1 too_short"):
        found = BASELINES["markov_switching"](rows, 4)
    assert_close(found[:2], BASELINES["seasonal_naive"](rows, 4)[:2])
    assert not torch.equal(found[2], BASELINES["seasonal_naive"](rows, 4)[2])


@pytest.mark.usefixtures("statsmodels")
def test_the_same_series_is_fitted_the_same_every_time_in_any_company() -> None:
    row = regimes(80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnfittedWarning)
        together = BASELINES["markov_switching"](torch.cat((regimes(80, 1), row)), 5)
    assert_close(together[1:], BASELINES["markov_switching"](row, 5))


def test_without_statsmodels_the_hint_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def missing(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if name.startswith("statsmodels"):
            raise ImportError(name)
        return there(name, globals, locals, fromlist or (), level)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(DataError, match="requires statsmodels") as caught:
        markov_switching(walks(1, 40), 3)
    assert caught.value.hint is not None
    assert "forecaster[demo]" in caught.value.hint
