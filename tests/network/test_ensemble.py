"""Ensembles: means of parts that still add up, in memory, in a checkpoint and in a forecast."""

from dataclasses import fields, replace

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from forecaster.errors import IncompatibleCheckpoint
from forecaster.inference.checkpoint import TrainedModel, dumps, loads
from forecaster.inference.predictor import predict
from forecaster.network.ensemble import Ensemble, assemble, disassemble
from forecaster.network.network import NetworkOutput
from forecaster.network.output_heads import MEDIAN
from forecaster.schemas import PART_COLUMNS
from tests.data.observed import HOUR, MONDAY, observed
from tests.network.networks import (
    contexts,
    gappy_contexts,
    scale_of,
    small_model,
    small_network,
    small_spec,
)
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric

SPEC = small_spec()
MEMBERS = [small_network(SPEC, seed) for seed in range(3)]
NETWORK = assemble(MEMBERS)
MODEL = TrainedModel(spec=SPEC, network=NETWORK, series_scale={"a": 1.0})


def test_every_part_is_the_mean_over_the_members() -> None:
    context = contexts(4, SPEC.context_length)
    alone = [member(context) for member in MEMBERS]

    together = NETWORK(context)

    for field in fields(NetworkOutput):
        mean = sum(getattr(output, field.name) for output in alone) / len(alone)
        assert_close(getattr(together, field.name), mean)


@settings(max_examples=20)
@given(context=gappy_contexts(SPEC.context_length))
def test_the_parts_of_the_mean_add_up_to_its_median(context: Tensor) -> None:
    with torch.inference_mode():
        output = NETWORK(context)

    parts = output.copied + output.last_value + output.residual
    assert_close(parts, output.deviations[..., MEDIAN], scale_of(output))
    assert bool((output.deviations.diff(dim=2) >= 0).all())
    assert_close(output.weights.sum(2), torch.ones(3, SPEC.future_patches))


def test_one_member_is_itself() -> None:
    assert assemble(MEMBERS[:1]) is MEMBERS[0]
    assert disassemble(MEMBERS[0]) == MEMBERS[:1]
    assert disassemble(NETWORK) == MEMBERS


def test_an_ensemble_comes_back_bit_for_bit() -> None:
    context = contexts(3, SPEC.context_length)

    model = loads(dumps(MODEL))

    assert isinstance(model.network, Ensemble)
    assert torch.equal(model.network(context).deviations, NETWORK(context).deviations)
    assert dumps(model) == dumps(MODEL)


@pytest.mark.parametrize("fallback", [None, "naive", "seasonal_naive_drift"])
def test_a_fallback_comes_back(fallback: str | None) -> None:
    assert loads(dumps(replace(small_model(), fallback=fallback))).fallback == fallback


def test_a_fallback_that_we_do_not_have_is_refused() -> None:
    data = dumps(replace(small_model(), fallback="crystal_ball"))

    with pytest.raises(IncompatibleCheckpoint, match=r"fallback must be one of .*'crystal_ball'"):
        loads(data)


def test_a_forecast_of_an_ensemble_adds_up() -> None:
    values = [10.0 + hour % 8 + hour % 5 / 10 for hour in range(40)]

    prediction = predict(MODEL, observed({"a": values}), [MONDAY + 39 * HOUR])

    frame = prediction.forecasts
    parts = frame.select(pl.sum_horizontal(*PART_COLUMNS)).to_series()
    assert_close(parts, frame["d50"], scale=20)
    assert prediction.attention["weights"].list.sum().to_list() == pytest.approx([1] * 3)
