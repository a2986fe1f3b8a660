"""The calendar: what it says by hand, where it says it, and that everything passes it on."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from forecaster.data.anchor import detect_grid
from forecaster.data.panel import build
from forecaster.explain import measure
from forecaster.explain.planted_test import planted_mass
from forecaster.inference.checkpoint import TrainedModel, dumps, loads
from forecaster.inference.device import CPU, Runner
from forecaster.inference.prediction import Prediction
from forecaster.inference.predictor import predict
from forecaster.network.calendar_features import FEATURES, calendar_features
from forecaster.network.ensemble import assemble
from forecaster.network.network import AttentionLSTM
from forecaster.network.output_heads import MEDIAN
from forecaster.network.spec import ModelSpec
from forecaster.schemas import DEVIATION_COLUMNS
from forecaster.times.durations import Step
from forecaster.training.estimator import fit
from forecaster.training.preparation import prepare
from tests.data.observed import HOUR, MONDAY, observed
from tests.jobs.small import DATASET, START, rows
from tests.network.networks import (
    contexts,
    gappy_contexts,
    scale_of,
    small_network,
    small_spec,
)
from tests.tolerance import assert_close, within

pytestmark = pytest.mark.numeric

NEW_YORK = "America/New_York"
SPEC = small_spec(calendar=True)
NETWORK = small_network(SPEC)


def spec_of(step: str, first: datetime, timezone: str = "UTC") -> ModelSpec:
    """A calendar model whose index 0 is `first`, two patches back and three ahead."""
    frame = observed({"a": [1.0]}, first=first)
    grid = detect_grid(frame, Step.parse(step), timezone)
    spec = small_spec(calendar=True, step=step, timezone=timezone, context_length=8)
    return replace(spec, attention_window=2, anchor=grid.anchor, timezone=grid.timezone)


def dates(spec: ModelSpec, cutoffs: list[int]) -> Tensor:
    features = calendar_features(spec, torch.tensor(cutoffs, dtype=torch.int64))
    assert features is not None
    return features


def by_hand(instants: list[datetime]) -> Tensor:
    """The features of local instants, from nothing but what datetime says of them."""
    found = []
    for instant in instants:
        angle = math.tau * (instant.hour + instant.minute / 60 + instant.second / 3600) / 24
        weekday = [float(day == instant.weekday()) for day in range(7)]
        found.append([math.sin(angle), math.cos(angle), *weekday])
    return torch.tensor(found)


def starts(cutoff: int) -> list[int]:
    """Where two past and three future patches of four steps begin: the third after the cutoff."""
    return [cutoff + 1 + 4 * patch for patch in range(-2, 3)]


@pytest.mark.parametrize("step", ["1h", "15m", "5m", "90s", "7h"])
@pytest.mark.parametrize("timezone", ["UTC", NEW_YORK, "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_features_are_those_of_the_local_instants_at_which_patches_begin(
    step: str, timezone: str
) -> None:
    spec, width = spec_of(step, MONDAY, timezone), Step.parse(step).approximate
    cutoffs = [-3, 0, 5000, 5001, 123_456]

    features = dates(spec, cutoffs)

    zero = spec.grid().timestamps_of(pl.Series([0]))[0]
    for row, cutoff in enumerate(cutoffs):
        instants = [zero + width * index for index in starts(cutoff)]
        local = [instant.astimezone(ZoneInfo(timezone)) for instant in instants]
        assert_close(features[row], by_hand(local))


def test_hours_follow_the_clocks_that_change() -> None:
    spec = spec_of("1h", datetime(2024, 3, 10, tzinfo=ZoneInfo(NEW_YORK)), NEW_YORK)
    midnight = spec.grid().index_at(datetime(2024, 3, 10, 5, tzinfo=UTC))

    features = dates(spec, [midnight - 1])[0]

    # From midnight, four hours on it is five o'clock: the clock has skipped an hour.
    sunday = datetime(2024, 3, 10, tzinfo=UTC)  # as the clock on the wall shows
    local = [sunday - 8 * HOUR, sunday - 4 * HOUR, sunday, sunday + 5 * HOUR, sunday + 9 * HOUR]
    assert_close(features, by_hand(local))


def test_days_begin_at_midnight_in_summer_and_in_winter() -> None:
    spec = spec_of("1d", datetime(2024, 3, 1, tzinfo=ZoneInfo(NEW_YORK)), NEW_YORK)
    march_8 = spec.grid().index_at(datetime(2024, 3, 8, 12, tzinfo=UTC))

    features = dates(spec, [march_8])[0]

    first = datetime(2024, 3, 9, tzinfo=UTC)  # a Saturday; clocks change on the Sunday
    days = [first + timedelta(days=4 * patch) for patch in range(-2, 3)]
    assert_close(features, by_hand(days))


def test_past_and_future_patches_of_one_window_follow_one_another() -> None:
    one, next_one = dates(SPEC, [100, 104])

    assert torch.equal(one[1:], next_one[:-1])
    assert one.shape == (SPEC.past_patches + SPEC.future_patches, FEATURES)


def test_a_model_without_a_calendar_is_told_nothing() -> None:
    assert calendar_features(small_spec(), torch.tensor([0])) is None


def test_no_windows_have_no_features() -> None:
    assert dates(SPEC, []).shape == (0, 9, FEATURES)


@pytest.mark.parametrize("statistics", ["window", "causal"])
def test_before_training_the_calendar_adds_nothing(statistics: str) -> None:
    torch.manual_seed(0)
    told = AttentionLSTM(small_spec(calendar=True, statistics=statistics)).eval()
    blind = AttentionLSTM(small_spec(statistics=statistics)).eval()
    blind.load_state_dict(
        {name: told.state_dict()[name] for name in blind.state_dict()},
    )
    context = contexts(3, 24)

    found, expected = told(context, None, dates(SPEC, [0, 7, 50])), blind(context)

    assert torch.equal(found.deviations, expected.deviations)
    assert torch.equal(found.weights, expected.weights)


def test_the_hour_and_the_weekday_change_a_forecast() -> None:
    context = contexts(1, 24).expand(3, -1)

    deviations = NETWORK(context, None, dates(SPEC, [0, 5, 24])).deviations.detach()

    tenth = float(deviations[0].abs().max()) / 10
    assert float((deviations[0] - deviations[1]).abs().max()) > tenth
    assert float((deviations[0] - deviations[2]).abs().max()) > tenth
    weeks = NETWORK(context, None, dates(SPEC, [0, 168, 24 * 70])).deviations
    assert_close(weeks[0], weeks[1])  # other rows of a batch may be rounded otherwise
    assert_close(weeks[0], weeks[2])


@settings(max_examples=20)
@given(context=gappy_contexts(24))
@pytest.mark.parametrize("statistics", ["window", "causal"])
def test_the_parts_still_add_up(statistics: str, context: Tensor) -> None:
    spec = small_spec(calendar=True, statistics=statistics)
    with torch.inference_mode():
        output = small_network(spec)(context, None, dates(spec, [3, 11, 40]))

    parts = output.copied + output.last_value + output.residual
    assert_close(parts, output.deviations[..., MEDIAN], scale_of(output))
    assert measure.reconstruction_error(output, context, spec) < within(1)


# What passes it on


def test_an_ensemble_passes_it_to_every_member() -> None:
    members = [small_network(SPEC, seed) for seed in range(2)]
    context, told = contexts(3, 24), dates(SPEC, [0, 5, 24])

    together = assemble(members)(context, None, told)

    alone = [member(context, None, told).deviations for member in members]
    assert_close(together.deviations, torch.stack(alone).mean(0))


def test_a_runner_passes_the_one_of_every_window_in_batches() -> None:
    context, cutoffs = contexts(5, 24), torch.tensor([0, 5, 24, 31, 44])
    runner = Runner(NETWORK, CPU)
    runner.batch_size = 2

    found = runner(context, cutoffs)

    expected = NETWORK(context, None, calendar_features(SPEC, cutoffs))
    assert_close(found.deviations, expected.deviations)


def test_planted_copies_can_be_looked_for() -> None:
    assert planted_mass(SPEC, steps=2) is not None


@pytest.fixture(scope="module")
def learnt() -> TrainedModel:
    """A model of two series that looks at the calendar, after a few steps, through its bytes."""
    model = replace(DATASET.model, calendar=True)
    panel, spec = prepare(both(), replace(DATASET, model=model))
    config = replace(DATASET.training, steps=20, ensemble=2, learning_rate=2e-2)
    return loads(dumps(fit(panel, spec, config).model))


def both() -> pl.DataFrame:
    return pl.concat([rows("a", 0, 399), rows("b", 0, 399)])


def at(learnt: TrainedModel, hours: range) -> Prediction:
    return predict(learnt, both(), [START + hour * HOUR for hour in hours])


def test_several_cutoffs_at_once_are_each_of_them_alone(learnt: TrainedModel) -> None:
    hours = range(340, 400, 7)

    together = at(learnt, hours).forecasts

    alone = pl.concat([at(learnt, range(hour, hour + 1)).forecasts for hour in hours])
    keys = ["series_id", "cutoff", "step"]
    pairs = together.join(alone, on=keys, how="full", suffix="_alone", validate="1:1")
    assert len(pairs) == len(together) == 2 * len(hours) * 12
    for name in DEVIATION_COLUMNS:
        assert_close(pairs[name], pairs[f"{name}_alone"], scale=100)


def test_trust_in_a_model_with_a_calendar_is_measured(learnt: TrainedModel) -> None:
    panel = build(both(), learnt.spec.grid(), season_length=24, scales=learnt.series_scale)

    trust = measure.trust(learnt, panel)

    assert trust.reconstruction_error < within(1)
    assert trust.seeds is not None


def test_a_network_with_a_calendar_says_that_it_needs_the_time() -> None:
    with pytest.raises(ValueError, match="requires calendar features"):
        NETWORK(contexts(2, SPEC.context_length))
