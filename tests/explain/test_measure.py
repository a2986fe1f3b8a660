"""Figures of trust: against brute force, and on networks that were tampered with."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray
from torch import Tensor

from forecaster.data.panel import Panel, PanelCounts
from forecaster.explain import measure
from forecaster.explain.report import Agreement, Trust
from forecaster.inference.checkpoint import TrainedModel
from forecaster.network.ensemble import assemble
from forecaster.network.network import NetworkOutput
from tests.network.networks import (
    MISSING,
    contexts,
    gappy_contexts,
    small_model,
    small_network,
    small_spec,
)
from tests.tolerance import within

pytestmark = pytest.mark.numeric

SPEC = small_spec()
NETWORK = small_network(SPEC)


def forecast(context: Tensor, seed: int = 0) -> NetworkOutput:
    with torch.inference_mode():
        output: NetworkOutput = small_network(SPEC, seed)(context)
    return output


def panel_of(deviations: Tensor) -> Panel:
    series = len(deviations)
    return Panel(
        grid=SPEC.grid(),
        series_ids=tuple(f"s{row}" for row in range(series)),
        start=0,
        deviations=deviations,
        offset=torch.zeros(series, dtype=torch.float64),
        scale=torch.ones(series, dtype=torch.float64),
        counts=PanelCounts(merged=0, off_grid=0, non_finite=0, gaps=0),
    )


# Reconstruction


@given(context=gappy_contexts(24))
def test_the_parts_make_the_median_again(context: Tensor) -> None:
    output = forecast(context)

    assert measure.reconstruction_error(output, context, SPEC) < within(1)


@pytest.mark.parametrize("part", ["weights", "adjusted_weights", "residual"])
def test_a_part_that_is_not_true_shows(part: str) -> None:
    context = contexts(3, 24)
    output = forecast(context)

    forged = replace(output, **{part: getattr(output, part) * 1.01})

    assert measure.reconstruction_error(forged, context, SPEC) > 10 * within(1)


def test_other_values_than_those_that_were_copied_show() -> None:
    context = contexts(3, 24)

    assert measure.reconstruction_error(forecast(context), context + 1, SPEC) > 1000 * within(1)


# Shares


def test_shares_are_those_of_the_parts() -> None:
    output = forecast(contexts(3, 24))
    sizes = [part.abs().mean() for part in (output.copied, output.last_value, output.residual)]

    found = measure.shares(output, SPEC)

    assert found.copied + found.last_value + found.residual == pytest.approx(1)
    assert found.copied / found.residual == pytest.approx(float(sizes[0] / sizes[2]))
    # steps 1-4, 5-8 and 9-10 belong to three future patches
    by_step = output.weights[:, [0] * 4 + [1] * 4 + [2] * 2]
    assert found.last_value_weight == pytest.approx(float(by_step[..., -2].mean()))
    assert found.level_weight == pytest.approx(float(by_step[..., -1].mean()))


@pytest.mark.parametrize(("attended", "expected"), [([2], 1.0), ([0, 3], 2.0), (range(6), 6.0)])
def test_the_effective_number_of_patches_counts_what_is_attended(
    attended: list[int], expected: float
) -> None:
    output = forecast(contexts(2, 24))
    weights = torch.zeros_like(output.weights)
    weights[..., list(attended)] = 0.5 / len(attended)

    assert measure.shares(replace(output, weights=weights), SPEC).effective_patches == (
        pytest.approx(expected)
    )


def test_the_weight_of_the_last_value_counts_where_it_lies() -> None:
    output = forecast(contexts(2, 24))
    newest = torch.tensor([[False] * 5 + [True], [False] * 3 + [True] + [False] * 2])

    found = measure.patch_weights(output, newest, SPEC)

    by_step = output.weights[:, [0] * 4 + [1] * 4 + [2] * 2].mean(1)
    assert found[0, 5] == pytest.approx(float(by_step[0, 5] + by_step[0, 6]))
    assert found[1, 3] == pytest.approx(float(by_step[1, 3] + by_step[1, 6]))
    assert found[1, 5] == pytest.approx(float(by_step[1, 5]))


# Agreement


def test_a_model_agrees_with_itself() -> None:
    output = forecast(contexts(3, 24))

    found = measure.agreement(output, output)

    assert found.divergence == pytest.approx(0, abs=within(1))
    assert found.overlap == 1


def test_two_that_look_at_different_places_are_one_bit_apart() -> None:
    output = forecast(contexts(3, 24))
    places = [torch.zeros_like(output.weights) for _ in range(2)]
    for place, weights in enumerate(places):
        weights[..., place] = 1

    found = measure.agreement(*(replace(output, weights=weights) for weights in places))

    assert found.divergence == pytest.approx(1)


def test_divergence_is_that_of_jensen_and_shannon() -> None:
    one, other = (forecast(contexts(3, 24), seed) for seed in (0, 1))

    found = measure.agreement(one, other)

    pairs = zip(one.weights.flatten(0, 1), other.weights.flatten(0, 1), strict=True)
    expected = np.mean([jensen_shannon(p.double().numpy(), q.double().numpy()) for p, q in pairs])
    assert found.divergence == pytest.approx(expected)
    assert 0 < found.divergence < 1


def jensen_shannon(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    middle = (p + q) / 2
    return float(np.sum(p * np.log2(p / middle) + q * np.log2(q / middle)) / 2)


# Trust


def test_trust_is_measured_on_windows_that_can_be_forecast() -> None:
    walks = contexts(4, 120)
    walks[1] = MISSING
    walks[2, 100:] = MISSING

    found = measure.trust(small_model(), panel_of(walks))

    assert 0 < found.windows <= measure.MOST_WINDOWS
    assert found.past_patches == 6
    assert found.reconstruction_error < within(1)
    assert [removal.patches for removal in found.removals] == [1, 3, 5]
    assert [removal.patches for removal in found.older] == [1, 3]
    assert all(math.isfinite(score) for score in found.to_scores().values())


def test_trust_tells_a_network_that_a_naive_forecast_stands_in_for() -> None:
    panel = panel_of(contexts(3, 120))
    serving = measure.trust(small_model(), panel)

    found = measure.trust(replace(small_model(), fallback="naive"), panel)

    assert serving.serves
    assert found == replace(serving, serves=False)
    assert Trust.from_scores(found.to_scores()) == found


def test_trust_is_the_same_every_time() -> None:
    panel = panel_of(contexts(3, 120))

    assert measure.trust(small_model(), panel) == measure.trust(small_model(), panel)


def test_nothing_to_measure_on_is_not_trusted() -> None:
    found = measure.trust(small_model(), panel_of(torch.full((2, 60), MISSING)))

    assert (found.windows, found.informative) == (0, False)


def test_trust_survives_the_scores_of_a_model() -> None:
    found = measure.trust(small_model(), panel_of(contexts(3, 120)))

    again = Trust.from_scores({"mase": 0.7, **found.to_scores()})

    assert again == found


def test_what_an_audit_adds_survives_too() -> None:
    found = replace(
        measure.trust(small_model(), panel_of(contexts(1, 60))),
        seeds=Agreement(divergence=0.1, overlap=0.8),
        planted_mass=0.97,
    )

    assert Trust.from_scores(found.to_scores()) == found


def test_the_members_of_an_ensemble_are_compared() -> None:
    networks = [small_network(SPEC, seed) for seed in (0, 1, 2)]
    model = TrainedModel(spec=SPEC, network=assemble(networks), series_scale={})

    found = measure.trust(model, panel_of(contexts(3, 120))).seeds

    assert found is not None
    assert 0 < found.divergence < 1
    assert 0 < found.overlap <= 1


def test_scores_of_an_older_model_hold_no_trust() -> None:
    assert Trust.from_scores({"mase": 0.7}) is None
