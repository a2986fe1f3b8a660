"""Removal of past patches, on a forecast that says by itself what it stands on."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from forecaster.data.windows import Windows
from forecaster.explain.faithfulness import (
    Deleter,
    ForecastFunction,
    naopc,
    rank,
    removals,
)
from forecaster.explain.report import Removal
from forecaster.network.network import NetworkOutput
from forecaster.schemas import QUANTILE_LEVELS
from tests.network.networks import MISSING
from tests.tolerance import within

PATCH, STEPS = 2, 3
IMPORTANCE = torch.tensor([0.05, 0.4, 0.1, 0.02, 0.25, 0.15, 0.03])
"""What each past patch adds to the forecast."""


def adding_up(importance: Tensor) -> ForecastFunction:
    """A forecast that is the sum of its patches' means, each times its importance."""

    def look(windows: Windows) -> NetworkOutput:
        patches = windows.context.unflatten(1, (-1, PATCH)).nan_to_num().mean(2)
        median = (patches @ importance)[:, None].expand(-1, STEPS)
        nothing = torch.zeros(len(median))
        return NetworkOutput(
            level=nothing,
            copied=median,
            last_value=torch.zeros_like(median),
            residual=torch.zeros_like(median),
            deviations=median[..., None].expand(-1, -1, len(QUANTILE_LEVELS)),
            weights=torch.empty(0),
            adjusted_weights=torch.empty(0),
            spread=nothing,
        )

    return look


def ones(batch: int = 2, missing: tuple[int, ...] = ()) -> Windows:
    """Windows of ones, some patches missing, whose targets are what is forecast of them."""
    context = torch.ones(batch, PATCH * len(IMPORTANCE))
    for patch in missing:
        context[:, PATCH * patch : PATCH * (patch + 1)] = MISSING
    windows = Windows(
        context=context,
        target=None,
        scale=torch.ones(batch),
        rows=torch.arange(batch),
        cutoffs=torch.zeros(batch, dtype=torch.int64),
    )
    return replace(windows, target=adding_up(IMPORTANCE)(windows).copied)


def deleter_of(windows: Windows) -> Deleter:
    return Deleter(adding_up(IMPORTANCE), windows, PATCH)


def observed(windows: Windows) -> Tensor:
    found: Tensor = windows.context.isfinite().unflatten(1, (-1, PATCH)).any(2)
    return found


def told(weights: Tensor, windows: Windows) -> tuple[Removal, ...]:
    """What removals say of a model that claims to attend by `weights` (Lp,)."""
    claimed = weights.expand(len(windows.context), -1)
    generator = torch.Generator().manual_seed(0)
    return removals(deleter_of(windows), claimed, observed(windows), generator)


def test_the_highest_score_ranks_first_and_what_is_no_candidate_last() -> None:
    scores = torch.tensor([[0.1, 0.7, 0.3, 0.9]])
    candidates = torch.tensor([[True, True, True, False]])

    assert rank(scores, candidates).tolist() == [[2, 0, 1, 3]]


def test_removing_patches_changes_the_forecast_by_what_they_add() -> None:
    falling = np.sort(IMPORTANCE.numpy())[::-1]

    found = told(IMPORTANCE, ones())

    assert [removal.patches for removal in found] == [1, 3, 5]
    for removal in found:
        assert removal.attended.change == pytest.approx(falling[: removal.patches].sum())
        assert removal.least.change == pytest.approx(falling[-removal.patches :].sum())
    assert found[0].ratio == pytest.approx(0.4 / IMPORTANCE.mean())


def test_one_patch_at_random_is_the_mean_over_all_choices() -> None:
    (alone, *_) = told(IMPORTANCE, ones())

    assert alone.random.change == pytest.approx(float(IMPORTANCE.mean()))


def test_several_at_random_are_drawn_about_evenly() -> None:
    windows = ones(batch=200)
    choices = itertools.combinations(IMPORTANCE.tolist(), 3)

    three = told(IMPORTANCE, windows)[1]

    expected = np.mean([sum(choice) for choice in choices])
    assert three.random.change == pytest.approx(expected, rel=0.05)


def test_the_error_grows_by_as_much_as_a_perfect_forecast_moves() -> None:
    for removal in told(IMPORTANCE, ones()):
        assert removal.attended.error == pytest.approx(removal.attended.change)


def test_without_targets_there_is_a_change_and_no_error() -> None:
    (alone, *_) = told(IMPORTANCE, replace(ones(), target=None))

    assert alone.attended.change == pytest.approx(0.4)
    assert math.isnan(alone.attended.error)


def test_what_is_missing_is_never_removed() -> None:
    (alone, *_) = told(IMPORTANCE, ones(missing=(1,)))

    assert alone.attended.change == pytest.approx(0.25)
    left = torch.cat((IMPORTANCE[:1], IMPORTANCE[2:]))
    assert alone.random.change == pytest.approx(float(left.mean()))


def test_a_count_needs_windows_with_more_candidates_than_that() -> None:
    assert [r.patches for r in told(IMPORTANCE, ones(missing=(0, 1, 2)))] == [1, 3]
    assert told(IMPORTANCE, ones(missing=tuple(range(7)))) == ()


@pytest.mark.parametrize(("claim", "expected"), [(IMPORTANCE, 1.0), (-IMPORTANCE, 0.0)])
def test_naopc_is_1_for_the_order_of_importance_and_0_for_its_reverse(
    claim: Tensor, expected: float
) -> None:
    windows = ones()

    found = naopc(deleter_of(windows), claim.expand(2, -1), observed(windows))

    assert found == pytest.approx(expected, abs=within())


def test_naopc_is_the_area_of_the_curve_between_those_of_both_orders() -> None:
    windows, claim = ones(), IMPORTANCE.roll(1)

    found = naopc(deleter_of(windows), claim.expand(2, -1), observed(windows))

    areas = [area(order) for order in (claim, IMPORTANCE, -IMPORTANCE)]
    assert found == pytest.approx((areas[0] - areas[2]) / (areas[1] - areas[2]))


def area(claim: Tensor) -> float:
    """The mean over 1 … 5 removed patches of what they add, by hand."""
    removed = IMPORTANCE.numpy()[np.argsort(-claim.numpy())]
    return float(np.mean([removed[:count].sum() for count in range(1, 6)]))


def test_naopc_without_windows_is_not_a_number() -> None:
    windows = ones(batch=0)

    assert math.isnan(naopc(deleter_of(windows), torch.zeros(0, 7), observed(windows)))
