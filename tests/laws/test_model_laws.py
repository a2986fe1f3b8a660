"""Laws of the model, for any weights and any gaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forecaster.network.network import AttentionLSTM
from tests.laws import laws
from tests.network.networks import gappy_contexts, small_network, small_spec

pytestmark = pytest.mark.numeric

SPECS = {
    "a season of two patches": small_spec(),
    "no season": small_spec(season_length=1, long_season=1),
    "one head": small_spec(heads=1),
    "a season longer than the context": small_spec(season_length=80),
}
NETWORKS = {name: small_network(spec) for name, spec in SPECS.items()}
any_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
gaps = gappy_contexts(24)


@any_network
@given(context=gaps)
def test_the_copied_part_is_the_published_weights_times_the_raw_values(
    network: AttentionLSTM, context: Tensor
) -> None:
    laws.the_copied_part_is_the_published_weights_times_the_raw_values(network, context)


@any_network
@given(context=gaps)
def test_the_last_value_part_is_its_weight_times_the_last_value(
    network: AttentionLSTM, context: Tensor
) -> None:
    laws.the_last_value_part_is_its_weight_times_the_last_value(network, context)


@any_network
@given(context=gaps)
def test_weights_are_shares_and_nothing_comes_from_a_missing_patch(
    network: AttentionLSTM, context: Tensor
) -> None:
    laws.weights_are_shares_and_nothing_comes_from_a_missing_patch(network, context)


@pytest.mark.fault(11)
@any_network
@given(context=gaps)
def test_quantiles_are_finite_and_never_cross(network: AttentionLSTM, context: Tensor) -> None:
    laws.quantiles_are_finite_and_never_cross(network, context)


@any_network
@given(context=gaps, shift=st.floats(-100, 100), factor=st.floats(0.5, 100))
def test_a_forecast_moves_and_stretches_with_its_window(
    network: AttentionLSTM, context: Tensor, shift: float, factor: float
) -> None:
    laws.a_forecast_moves_and_stretches_with_its_window(network, context, shift, factor)


@any_network
@given(context=gaps)
def test_batch_mates_do_not_matter(network: AttentionLSTM, context: Tensor) -> None:
    laws.batch_mates_do_not_matter(network, context)
