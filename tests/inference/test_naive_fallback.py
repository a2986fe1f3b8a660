"""Naive forecasts that serve: their points, the network's spread, and when they take over."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forecaster.data.panel import Panel, build
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.naive_fallback import FALLBACKS, served
from forecaster.inference.prediction import Prediction
from forecaster.inference.predictor import predict
from forecaster.network.output_heads import MEDIAN
from forecaster.schemas import DEVIATION_COLUMNS, PART_COLUMNS
from forecaster.training.holdout import HoldOut
from forecaster.training.validation import Validation
from tests.data.observed import HOUR, MONDAY, observed
from tests.network.networks import (
    gappy_contexts,
    small_model,
    small_network,
    small_spec,
)
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric

SPEC = small_spec()
NETWORK = small_network(SPEC)
NAMES = list(FALLBACKS)
CUTOFF = MONDAY + 39 * HOUR
MODEL = small_model({"a": 1.0, "b": 2.0})


def season(hours: int, level: float = 10.0, noise: float = 0.3) -> list[float | None]:
    wobble = np.random.default_rng(int(level)).normal(0, noise, hours)
    return [level + 3 * math.sin(math.tau * hour / 8) + wobble[hour] for hour in range(hours)]


def forecast(model: TrainedModel, series: dict[str, list[float | None]]) -> Prediction:
    return predict(model, observed(series), [CUTOFF])


@settings(max_examples=20)
@given(context=gappy_contexts(SPEC.context_length), name=st.sampled_from(NAMES))
def test_the_median_is_the_naive_point_and_the_parts_add_up_to_it(
    context: Tensor, name: str
) -> None:
    context[:, 0] = 1.0  # a row without any value is never forecast
    with torch.inference_mode():
        said = served(NETWORK(context), context, name, SPEC)

    points, median = FALLBACKS[name](context, SPEC), said.deviations[..., MEDIAN]
    size = points.abs() + said.level[:, None].abs()
    assert_close(said.level[:, None] + median, points, size)
    assert torch.equal(said.copied + said.last_value + said.residual, median)
    assert bool((said.deviations.diff(dim=2) >= 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_spread_is_that_of_the_network(name: str) -> None:
    context = torch.randn(3, SPEC.context_length, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output = NETWORK(context)

    said = served(output, context, name, SPEC)

    width = output.deviations[..., -1] - output.deviations[..., 0]
    assert_close(said.deviations[..., -1] - said.deviations[..., 0], width)


@pytest.mark.parametrize(
    ("name", "silent"),
    [
        ("naive", ["copied", "residual"]),
        ("seasonal_naive", ["last_value", "residual"]),
        ("long_seasonal_naive", ["last_value", "residual"]),
        ("seasonal_naive_drift", ["last_value"]),
    ],
)
def test_each_part_says_where_the_point_came_from(name: str, silent: list[str]) -> None:
    frame = forecast(replace(MODEL, fallback=name), {"a": season(40)}).forecasts

    spoken = [part for part in PART_COLUMNS[:3] if frame[part].abs().max() != 0]
    assert sorted(spoken) == sorted({"copied", "last_value", "residual"} - {*silent})


def test_without_a_fallback_the_network_serves() -> None:
    context = torch.randn(3, SPEC.context_length)
    output = NETWORK(context)

    assert served(output, context, None, SPEC) is output


@pytest.mark.parametrize("name", NAMES)
def test_forecasts_of_a_fallback_say_so_and_carry_no_attention(name: str) -> None:
    series = {"a": season(40), "new": season(40, 100.0)}
    prediction = forecast(replace(MODEL, fallback=name), series)

    frame = prediction.forecasts
    assert frame["status"].unique().to_list() == ["fallback_naive"]
    assert len(frame) == 2 * SPEC.prediction_length
    assert len(prediction.attention) == len(prediction.patches) == 0
    assert prediction.attention.schema == forecast(MODEL, series).attention.schema
    parts = frame.select(pl.sum_horizontal(*PART_COLUMNS)).to_series()
    assert_close(parts, frame["d50"], scale=100)


def test_repeating_the_last_value_repeats_the_last_value() -> None:
    frame = forecast(replace(MODEL, fallback="naive"), {"a": [*season(38), None, None]}).forecasts

    median = (frame["level"] + frame["d50"]).to_list()
    assert median == pytest.approx([season(38)[37]] * SPEC.prediction_length)


def test_bounds_clip_a_fallback_too() -> None:
    model = replace(MODEL, fallback="seasonal_naive")

    frame = predict(
        model, observed({"a": season(40)}), [CUTOFF], lower_bound=9.5, upper_bound=10.5
    ).forecasts

    values = frame["level"].to_numpy()[:, None] + frame.select(DEVIATION_COLUMNS).to_numpy()
    assert values.min() >= 9.5
    assert values.max() <= 10.5
    assert frame["adjustment"].abs().max() > 0  # type: ignore[operator]


def kept_back(panel: Panel, windows: int) -> HoldOut:
    rows = torch.arange(len(panel))
    return HoldOut(rows=rows, windows=windows, prediction_length=SPEC.prediction_length)


@pytest.fixture(scope="module")
def seasonal() -> Validation:
    """Windows kept back from two clean seasons."""
    series = {"a": season(200), "b": season(200, 50.0)}
    panel = build(observed(series), SPEC.grid(), season_length=8)
    return Validation(panel, kept_back(panel, 3))


def test_a_naive_forecast_takes_over_where_it_is_clearly_better(seasonal: Validation) -> None:
    """An untrained network is no match for a season it has never seen."""
    guarded = seasonal.evaluate(NETWORK, guarded=True)
    unguarded = seasonal.evaluate(NETWORK, guarded=False)

    assert guarded.fallback in ("seasonal_naive", "long_seasonal_naive")
    assert unguarded.fallback is None
    assert guarded.scores is not None
    assert unguarded.scores is not None
    assert guarded.scores.mase < unguarded.scores.mase
    assert "is used instead of the network" in guarded.notes[0]
    assert seasonal.error(NETWORK) == pytest.approx(unguarded.scores.mase)


@pytest.mark.parametrize("held_out", [0, 3])
def test_without_a_value_to_judge_there_is_no_verdict(held_out: int) -> None:
    panel = build(observed({"a": [None] * 99 + [1.0]}), SPEC.grid())
    validation = Validation(panel, kept_back(panel, held_out))

    verdict = validation.evaluate(NETWORK, guarded=True)

    assert (verdict.scores, verdict.fallback) == (None, None)
    assert validation.error(NETWORK) == math.inf
