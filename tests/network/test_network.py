"""The network: shapes, gaps, and the parts it is made of."""

import pytest
import torch

from forecaster.network.output_heads import MEDIAN
from forecaster.network.scaling import scale_window
from forecaster.schemas import QUANTILE_LEVELS
from tests.network.networks import (
    MISSING,
    contexts,
    small_network,
    small_spec,
)
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric


def test_shapes_follow_the_spec_where_the_horizon_is_not_whole_patches() -> None:
    spec = small_spec(prediction_length=10, patch_length=4, context_length=24)
    output = small_network(spec)(contexts(3, 24))
    assert output.level.shape == output.spread.shape == (3,)
    assert output.copied.shape == output.last_value.shape == output.residual.shape == (3, 10)
    assert output.deviations.shape == (3, 10, len(QUANTILE_LEVELS))
    assert output.weights.shape == (3, 3, 8)
    assert output.adjusted_weights.shape == (3, 3, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction_length": 1},
        {"season_length": 1, "long_season": 1},
        {"season_length": 100, "long_season": 700},
        {"patch_length": 5, "context_length": 5, "season_length": 7},
        {"patch_length": 1, "context_length": 3},
        {"heads": 1, "layers": 1},
        {"heads": 5},
    ],
)
def test_any_spec_makes_a_network(changes: dict[str, object]) -> None:
    spec = small_spec(**changes)
    output = small_network(spec)(contexts(2, spec.context_length))
    assert output.deviations.shape == (2, spec.prediction_length, len(QUANTILE_LEVELS))
    assert bool(output.deviations.isfinite().all())
    assert_close(output.weights.sum(2), torch.ones(2, spec.future_patches))


def test_a_wholly_missing_patch_gets_exactly_no_weight() -> None:
    context = contexts(1, 24)
    context[0, 8:12] = MISSING
    context[0, 20:] = MISSING
    output = small_network(small_spec())(context)
    assert output.weights[0, :, [2, 5]].abs().sum() == 0
    assert bool((output.weights[0, :, [0, 1, 3, 4, 6, 7]] > 0).all())


def test_a_window_without_values_is_finite_and_leaves_only_the_sentinels() -> None:
    output = small_network(small_spec())(torch.full((1, 24), MISSING))
    assert bool(output.deviations.isfinite().all())
    assert output.weights[0, :, :-2].abs().sum() == 0


def test_a_value_too_large_to_square_counts_as_missing() -> None:
    context = contexts(1, 24)
    context[0, 5] = MISSING
    huge = context.clone()
    huge[0, 5] = 3e38
    network = small_network(small_spec())
    assert torch.equal(network(context).deviations, network(huge).deviations)


def test_a_window_that_stands_still_copies_its_value() -> None:
    output = small_network(small_spec())(torch.full((1, 24), 7.0))
    assert output.level.tolist() == [7]
    assert output.copied.abs().sum() == output.last_value.abs().sum() == 0


def test_the_level_is_the_season_before_the_last_observed_value() -> None:
    context = torch.arange(24.0)[None]
    context[0, 22:] = MISSING
    window = scale_window(context, patch_length=4, season_patches=2)
    level = window.centre + window.spread * window.level
    last = window.centre + window.spread * window.last
    assert_close(level, torch.arange(14.0, 22.0).mean()[None])
    assert_close(last, torch.tensor([21.0]))


def test_each_patch_has_the_level_of_the_season_that_ends_with_it() -> None:
    window = scale_window(torch.arange(24.0)[None], patch_length=4, season_patches=3)
    levels = window.centre[:, None] + window.spread[:, None] * window.patch_levels
    expected = [5.5, 5.5, 5.5, 9.5, 13.5, 17.5]
    assert_close(levels, torch.tensor([expected]))


def test_hidden_values_change_what_is_attended_but_are_still_copied() -> None:
    network = small_network(small_spec())
    context = contexts(1, 24)
    hidden = torch.zeros(1, 24, dtype=torch.bool)
    hidden[0, 4:8] = True
    seen, unseen = network(context), network(context, hidden)
    assert unseen.weights[0, 0, 1] > 0
    assert not torch.equal(seen.weights, unseen.weights)
    assert torch.equal(seen.level, unseen.level)


def test_the_last_step_of_a_cut_patch_is_the_one_inside_the_horizon() -> None:
    whole, cut = small_spec(prediction_length=12), small_spec(prediction_length=10)
    context = contexts(2, 24)
    longer, shorter = small_network(whole)(context), small_network(cut)(context)
    assert_close(shorter.deviations, longer.deviations[:, :10])


def test_the_median_is_the_sum_of_its_parts() -> None:
    output = small_network(small_spec())(contexts(4, 24))
    parts = output.copied + output.last_value + output.residual
    assert torch.equal(output.deviations[..., MEDIAN], parts)
