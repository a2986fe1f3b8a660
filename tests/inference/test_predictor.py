"""Inference: what is said about each series at each cutoff, and why some are left out."""

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster.errors import SkipReason
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.prediction import Prediction
from forecaster.inference.predictor import predict
from forecaster.inference.to_frames import clip
from forecaster.schemas import (
    ATTENTION,
    DEVIATION_COLUMNS,
    FORECASTS,
    PART_COLUMNS,
    PATCHES,
)
from tests.data.observed import HOUR, MONDAY, observed
from tests.network.networks import small_model
from tests.tolerance import RELATIVE, assert_close

pytestmark = pytest.mark.numeric

CUTOFF = MONDAY + 39 * HOUR
"""The last of forty hours."""


def wave(hours: int, level: float = 10.0) -> list[float | None]:
    return [level + math.sin(math.tau * hour / 8) + hour % 5 / 10 for hour in range(hours)]


MODEL = small_model({"a": 1.0, "b": 2.0})
BOTH = observed({"a": wave(40), "b": wave(40, 100.0)})


def last(values: list[float | None], missing: int) -> list[float | None]:
    return [*values[: len(values) - missing], *[None] * missing]


def forecast(series: dict[str, list[float | None]], model: TrainedModel = MODEL) -> Prediction:
    return predict(model, observed(series), [CUTOFF])


def quantiles(prediction: Prediction) -> NDArray[np.float64]:
    frame = prediction.forecasts
    level = frame["level"].to_numpy()[:, None]
    values: NDArray[np.float64] = level + frame.select(DEVIATION_COLUMNS).to_numpy()
    return values


def test_frames_are_as_declared_one_row_for_each_step_and_future_patch() -> None:
    prediction = predict(MODEL, BOTH, [CUTOFF])
    assert prediction.forecasts.schema == FORECASTS
    assert prediction.attention.schema == ATTENTION
    assert prediction.patches.schema == PATCHES
    assert len(prediction.forecasts) == 2 * 10
    assert prediction.attention.select("step_from", "step_to").rows() == [
        *[(1, 4), (5, 8), (9, 10)] * 2
    ]
    assert prediction.forecasts["timestamp"][:10].to_list() == [
        CUTOFF + step * HOUR for step in range(1, 11)
    ]
    assert prediction.forecasts["series_id"].unique().sort().to_list() == ["a", "b"]
    assert prediction.skipped == {}


def test_patches_lie_back_to_back_and_end_at_the_cutoff() -> None:
    patches = predict(MODEL, BOTH, [CUTOFF]).patches
    assert patches["patch"].to_list() == [1, 2, 3, 4, 5, 6]
    assert patches["context_to"][-1] == CUTOFF
    assert patches["context_from"][0] == CUTOFF - 23 * HOUR
    assert patches["context_from"][1:].to_list() == [
        instant + HOUR for instant in patches["context_to"][:-1]
    ]


def test_the_parts_add_up_to_the_median() -> None:
    frame = predict(MODEL, BOTH, [CUTOFF], upper_bound=50.0).forecasts
    median = frame["level"] + frame["d50"]
    total = frame.select(pl.sum_horizontal(pl.col("level"), *PART_COLUMNS)).to_series()
    assert_close(total, median, scale=100)


def test_weights_of_one_future_patch_sum_to_one() -> None:
    attention = forecast({"a": last(wave(40), 6)}).attention
    assert attention["weights"].list.len().to_list() == [8] * 3
    assert attention["weights"].list.sum().to_list() == pytest.approx([1] * 3, rel=RELATIVE)
    assert attention["weights"].list.get(5).to_list() == [0] * 3


def test_nothing_after_the_cutoff_is_looked_at() -> None:
    future = observed({"a": [*wave(40), *[1e6] * 20], "b": [*wave(40, 100.0), *[None] * 20]})
    known, more = predict(MODEL, BOTH, [CUTOFF]), predict(MODEL, future, [CUTOFF])
    assert known.forecasts.equals(more.forecasts)
    assert known.attention.equals(more.attention)


def test_several_cutoffs_say_what_each_says_alone() -> None:
    cutoffs = [CUTOFF - 3 * HOUR, CUTOFF]
    together = predict(MODEL, BOTH, list(reversed(cutoffs)))
    alone = pl.concat([predict(MODEL, BOTH, [cutoff]).forecasts for cutoff in cutoffs])
    alone = alone.sort("series_id", "cutoff", "step")
    keys = ["series_id", "cutoff", "step", "timestamp", "status"]
    assert together.forecasts.select(keys).equals(alone.select(keys))
    for name in ("level", *PART_COLUMNS, *DEVIATION_COLUMNS):
        assert_close(together.forecasts[name], alone[name], scale=100)
    assert len(together.patches) == 2 * 6


def test_a_cutoff_between_two_grid_instants_is_the_earlier_one() -> None:
    later = predict(MODEL, BOTH, [CUTOFF + timedelta(minutes=20)])
    assert later.forecasts.equals(predict(MODEL, BOTH, [CUTOFF]).forecasts)


def test_a_series_the_model_has_not_seen_is_a_cold_start() -> None:
    frame = forecast({"a": wave(40), "new": wave(40)}).forecasts
    status = dict(frame.select("series_id", "status").unique().rows())
    assert status == {"a": "ok", "new": "cold_start"}


def test_series_that_cannot_be_forecast_are_skipped_with_a_reason() -> None:
    nothing: list[float | None] = [None]
    prediction = forecast(
        {
            "a": wave(40),
            "late": last(wave(40), 8),
            "later": last(wave(40), 9),
            "empty": nothing * 40,
            "short": nothing * 33 + wave(7),
            "ended": wave(10),
        }
    )
    assert prediction.forecasts["series_id"].unique().sort().to_list() == ["a", "late"]
    assert prediction.skipped == {
        "b": SkipReason.NO_DATA,  # known to the model, not observed at all
        "empty": SkipReason.NO_DATA,
        "ended": SkipReason.NO_DATA,
        "later": SkipReason.STALE,
        "short": SkipReason.TOO_SHORT,
    }


def test_a_series_that_is_forecast_at_one_cutoff_is_not_skipped() -> None:
    series = observed({"a": last(wave(40), 10)})
    prediction = predict(MODEL, series, [CUTOFF - 20 * HOUR, CUTOFF])
    assert prediction.skipped == {"b": SkipReason.NO_DATA}
    assert prediction.forecasts["cutoff"].unique().to_list() == [CUTOFF - 20 * HOUR]


def test_numbers_beyond_float32_are_skipped_and_the_rest_goes_on() -> None:
    model = small_model({"a": 1e39, "b": 1.0})
    prediction = forecast({"a": [1e39 * v for v in wave(40) if v], "b": wave(40)}, model)
    assert prediction.skipped == {"a": SkipReason.NON_FINITE}
    assert prediction.forecasts["series_id"].unique().to_list() == ["b"]


def test_values_that_are_no_numbers_are_gaps_and_counted() -> None:
    values = [*wave(38), math.inf, math.nan]
    prediction = forecast({"a": values, "b": wave(40)})
    assert prediction.skipped == {}
    assert prediction.panel_counts.non_finite == 2


@pytest.mark.parametrize("series", [{}, {"a": [None] * 40}])
def test_without_data_there_are_no_rows_and_every_series_is_skipped(
    series: dict[str, list[float | None]],
) -> None:
    prediction = forecast(series)
    assert prediction.forecasts.schema == FORECASTS
    assert len(prediction.forecasts) == len(prediction.attention) == 0
    assert prediction.skipped == dict.fromkeys(["a", "b"], SkipReason.NO_DATA)


def test_a_cutoff_must_be_given() -> None:
    with pytest.raises(ValueError, match="at least one cutoff is required"):
        predict(MODEL, BOTH, [])


def test_a_constant_series_is_forecast_as_constant() -> None:
    prediction = forecast({"flat": [7.0] * 40})
    assert float(np.abs(quantiles(prediction) - 7).max()) < 7e-4  # tolerance: a floor of the spread


def test_bounds_clip_every_quantile_and_say_so() -> None:
    free = predict(MODEL, BOTH, [CUTOFF])
    bound = float(np.median(quantiles(free)[:10]))
    clipped = predict(MODEL, BOTH, [CUTOFF], lower_bound=bound, upper_bound=100.0)
    values = quantiles(clipped)
    assert values.min() >= bound
    assert values.max() <= 100
    assert (np.diff(values, axis=1) >= 0).all()
    assert_close(values, quantiles(free).clip(bound, 100))
    moved = clipped.forecasts["adjustment"] != 0
    assert 0 < moved.sum() < len(moved)
    assert free.forecasts["adjustment"].abs().sum() == 0


@given(
    level=st.floats(-1e12, 1e12),
    bound=st.floats(-1e12, 1e12),
    deviations=st.lists(st.floats(-1e6, 1e6, width=32), min_size=13, max_size=13),
)
def test_a_bound_holds_to_the_last_bit_and_keeps_the_order(
    level: float, bound: float, deviations: list[float]
) -> None:
    free = torch.tensor(sorted(deviations), dtype=torch.float32)[None, None]
    at = torch.tensor([level], dtype=torch.float64)
    lower, upper = clip(free, at, (bound, None)), clip(free, at, (None, bound))
    assert float((at + lower.double()).min()) >= bound
    assert float((at + upper.double()).max()) <= bound
    assert bool((lower.diff() >= 0).all())
    assert bool((upper.diff() >= 0).all())


def test_a_counter_near_ten_billion_keeps_its_small_changes() -> None:
    near = predict(MODEL, BOTH, [CUTOFF])
    shifted = BOTH.with_columns(pl.col("value") + 1e10)
    far = predict(MODEL, shifted, [CUTOFF])
    assert_close(quantiles(far) - 1e10, quantiles(near))


def test_who_else_is_forecast_does_not_matter() -> None:
    crowd = {f"s{number:04d}": wave(40, float(number)) for number in range(1500)}
    alone, together = forecast({"a": wave(40)}), forecast({"a": wave(40), **crowd})
    ours = quantiles(together)[:10]
    assert_close(ours, quantiles(alone))
    assert len(together.forecasts) == 1501 * 10


def test_days_are_counted_on_the_clock_of_the_grid() -> None:
    model = small_model(step="1d", anchor=0, timezone="America/New_York")
    first = MONDAY.replace(month=2, hour=5)  # midnight in New York
    days = observed({"a": wave(38)}, first=first, every=timedelta(days=1))
    cutoff = first + timedelta(days=37)  # 2024-03-09; clocks change on the 10th
    timestamps = predict(model, days, [cutoff]).forecasts["timestamp"]
    assert [instant.hour for instant in timestamps[:3]] == [5, 4, 4]
