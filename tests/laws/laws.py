"""What holds for any network, any weights and any gaps, as assertions on a batch of contexts."""

import torch
from torch import Tensor

from forecaster.network.calendar_features import calendar_features
from forecaster.network.ensemble import Network
from forecaster.network.network import AttentionLSTM, NetworkOutput
from forecaster.network.output_heads import MEDIAN
from forecaster.network.scaling import scale_window
from forecaster.network.spec import ModelSpec
from tests.network.networks import contexts, scale_of
from tests.tolerance import assert_close, within


def forecast(network: Network, context: Tensor) -> NetworkOutput:
    """Forecast windows that end at the same time, on the calendar of the network if it has one."""
    calendar = calendar_features(network.spec, torch.full((len(context),), 1000))
    with torch.inference_mode():
        output: NetworkOutput = network(context, None, calendar)
    return output


def copied_from(context: Tensor, output: NetworkOutput, spec: ModelSpec) -> Tensor:
    """The copied part (B, H), from nothing but raw values and published weights, in float64."""
    patch, season = spec.patch_length, spec.season_patches
    values = context.double().unflatten(1, (-1, patch))  # (B, Lp, P)
    level = output.level.double()[:, None, None]
    levels = torch.stack([_level(values, j, season) for j in range(values.shape[1])], 1)
    levels = torch.where(levels.isnan(), level[:, 0], levels)[..., None]
    raw = (values - level).nan_to_num()
    drift = (level - levels) * values.isfinite()
    past = output.weights.double()[..., :-2]
    copied: Tensor = past @ raw + output.adjusted_weights.double() @ drift
    return copied.flatten(1)[:, : spec.prediction_length]


def _level(values: Tensor, j: int, season: int) -> Tensor:
    first = max(j - season + 1, 0)
    return values[:, first : first + season].flatten(1).nanmean(1)


def the_copied_part_is_the_published_weights_times_the_raw_values(
    network: AttentionLSTM, context: Tensor
) -> None:
    output = forecast(network, context)
    expected = copied_from(context, output, network.spec)
    assert_close(output.copied, expected, scale_of(output))


def the_last_value_part_is_its_weight_times_the_last_value(
    network: AttentionLSTM, context: Tensor
) -> None:
    output, spec = forecast(network, context), network.spec
    window = scale_window(context, spec.patch_length, spec.season_patches)
    last = (window.centre + window.spread * window.last - output.level)[:, None]
    weight = output.weights[..., -2].repeat_interleave(spec.patch_length, 1)
    expected = weight[:, : spec.prediction_length] * last
    assert_close(output.last_value, expected, scale_of(output))


def the_parts_add_up_to_the_median(network: AttentionLSTM, context: Tensor) -> None:
    output = forecast(network, context)
    parts = output.copied + output.last_value + output.residual
    assert_close(parts, output.deviations[..., MEDIAN], scale_of(output))


def weights_are_shares_and_nothing_comes_from_a_missing_patch(
    network: AttentionLSTM, context: Tensor
) -> None:
    output = forecast(network, context)
    missing = ~context.isfinite().unflatten(1, (-1, network.spec.patch_length)).any(2)
    assert bool((output.weights >= 0).all())
    assert_close(output.weights.sum(2), torch.ones(output.weights[:, :, 0].shape))
    past = output.weights[..., :-2].transpose(1, 2)
    assert past[missing].abs().sum() == 0
    assert bool((output.adjusted_weights <= output.weights[..., :-2] + within(1)).all())


def quantiles_are_finite_and_never_cross(network: AttentionLSTM, context: Tensor) -> None:
    deviations = forecast(network, context).deviations
    assert bool(deviations.isfinite().all())
    assert bool((deviations.diff(dim=2) >= 0).all())


def a_forecast_moves_and_stretches_with_its_window(
    network: AttentionLSTM, context: Tensor, shift: float, factor: float
) -> None:
    before, after = forecast(network, context), forecast(network, context * factor + shift)
    wide = before.spread > 0.2  # where the smallest spread plays no part
    expected = before.level[:, None, None] * factor + shift + before.deviations * factor
    found = after.level[:, None, None] + after.deviations
    # What rounding does to the window, a network may answer with a larger change.
    scale = (16 * after.spread + 2 * abs(shift))[:, None, None]
    assert_close(found[wide], expected[wide], scale[wide])


def batch_mates_do_not_matter(network: AttentionLSTM, context: Tensor) -> None:
    together = forecast(network, torch.cat((contexts(5, context.shape[1], seed=7), context)))
    alone = forecast(network, context[:1])
    assert_close(together.deviations[5], alone.deviations[0], scale_of(alone)[0])
