"""Methods of statsforecast, where that package is installed."""

import math

import pytest
import torch

from forecaster.baselines.statsforecast_models import LONGEST, METHODS, statistical_quantiles
from forecaster.experiments import rivals
from forecaster.schemas import QUANTILE_LEVELS

pytest.importorskip("statsforecast", reason="statsforecast is not installed")

MEDIAN = QUANTILE_LEVELS.index(0.5)
SEASONS = (6, 12)


def wave(length: int, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    hours = torch.arange(length)
    return (50 + 10 * torch.sin(hours * torch.pi / 3) + noise).double()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_goes_on_in_the_season_with_intervals_around_it(name: str) -> None:
    found = statistical_quantiles(name, wave(72)[None], 6, SEASONS)[0]

    expected = 50 + 10 * torch.sin(torch.arange(72, 78) * torch.pi / 3)
    assert found.shape == (6, len(QUANTILE_LEVELS))
    assert float((found[:, MEDIAN] - expected).abs().max()) < 4
    assert bool((found.diff(dim=1) >= 0).all())
    inner, outer = found[:, -3] - found[:, 2], found[:, -1] - found[:, 0]
    assert bool((inner > 1).all())
    assert bool((outer > inner).all())


def test_gaps_and_young_and_ended_series_stay_in_their_phase() -> None:
    whole = wave(72)
    gappy, young, ended = (whole.clone() for _ in range(3))
    gappy[20:22] = young[:11] = ended[-2:] = math.nan

    found = statistical_quantiles("auto_ets", torch.stack((gappy, young, ended)), 6, SEASONS)

    expected = 50 + 10 * torch.sin(torch.arange(72, 78) * torch.pi / 3)
    assert float((found[..., MEDIAN] - expected).abs().max()) < 4


def test_what_a_method_cannot_be_fitted_to_says_nothing_and_stops_no_other() -> None:
    rows = torch.full((3, 72), math.nan, dtype=torch.float64)
    rows[0] = wave(72)
    rows[1, -1] = 5.0

    found = statistical_quantiles("auto_ets", rows, 3, SEASONS)

    assert bool(found[0].isfinite().all())
    assert bool(found[2].isnan().all())
    assert found[1].shape == (3, len(QUANTILE_LEVELS))


def test_each_row_is_told_of_and_a_long_history_is_cut() -> None:
    done: list[int] = []

    found = statistical_quantiles(
        "auto_theta", wave(LONGEST + 60).expand(2, -1), 2, (1, 1), done.append
    )

    assert done == [1, 1]
    assert torch.equal(found[0], found[1])


def test_its_methods_are_rivals_that_can_be_asked_for() -> None:
    rivals.require(list(METHODS))
