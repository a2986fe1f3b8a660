"""Training: how many networks, which variant, and whether a naive forecast serves instead."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from forecaster.config.settings import TrainingConfig
from forecaster.errors import SkipReason, TrainingDiverged
from forecaster.inference.checkpoint import dumps, loads
from forecaster.inference.predictor import predict
from forecaster.network.ensemble import disassemble
from forecaster.schemas import DEVIATION_COLUMNS
from forecaster.training.estimator import (
    Progress,
    clearly_least,
    fit,
    fit_one_of,
)
from forecaster.training.preparation import prepare
from tests.config.configs import small_dataset as dataset
from tests.data.observed import HOUR, MONDAY, observed

QUICK = TrainingConfig(steps=3, batch_size=8, device="cpu", naive_guard=False)
LEARNING = TrainingConfig(steps=150, batch_size=32, device="cpu")
HOURS = 400


def walks(count: int) -> pl.DataFrame:
    noise = np.random.default_rng(0).normal(0, 1, (count, HOURS)).cumsum(1)
    return observed({f"w{row}": (100 + noise[row]).tolist() for row in range(count)})


def seasons(count: int, noise: float = 0.3) -> pl.DataFrame:
    wobble = np.random.default_rng(0).normal(0, noise, (count, HOURS))
    day = np.sin(math.tau * np.arange(HOURS) / 24)
    return observed({f"s{row}": (10 + row + day + wobble[row]).tolist() for row in range(count)})


def test_an_ensemble_is_the_networks_of_the_seeds_that_follow() -> None:
    panel, spec = prepare(seasons(2), dataset())
    alone = [fit(panel, spec, replace(QUICK, seed=seed)).model.network for seed in (4, 5)]

    both = fit(panel, spec, replace(QUICK, seed=4, ensemble=2))

    for member, network in zip(disassemble(both.model.network), alone, strict=True):
        weights = network.state_dict()
        assert all(torch.equal(part, weights[name]) for name, part in member.state_dict().items())
    assert both.steps == 2 * QUICK.steps  # type: ignore[operator]
    assert dumps(loads(dumps(both.model))) == dumps(both.model)


def test_progress_counts_every_training() -> None:
    short, told = seasons(2).filter(pl.col("timestamp") < MONDAY + 100 * HOUR), list[Progress]()

    result = fit(*prepare(short, dataset()), replace(QUICK, ensemble=2), told.append)

    assert [(progress.step, progress.steps) for progress in told] == [
        (3, 12), (6, 12), (9, 12), (12, 12),
    ]  # fmt: skip
    assert result.steps == 12


@pytest.mark.slow
def test_the_steps_that_are_planned_stay_the_same_where_fewer_are_taken() -> None:
    short, told = walks(1).filter(pl.col("timestamp") < MONDAY + 100 * HOUR), list[Progress]()

    result = fit(
        *prepare(short, dataset()), replace(QUICK, steps=200, learning_rate=1e-2), told.append
    )

    assert result.notes[0].startswith("early stopping: the validation error rose after")
    assert {progress.steps for progress in told} == {400}
    assert told[-1].step == result.steps < 400


@pytest.mark.slow
def test_the_best_of_some_candidates_on_validation_windows_is_trained() -> None:
    panel, spec = prepare(seasons(4), dataset())
    blind = replace(spec, context_length=spec.patch_length, min_observed=2, max_lag=1)
    told: list[Progress] = []
    config = replace(LEARNING, steps=120, batch_size=16, naive_guard=False)

    result = fit_one_of(panel, [blind, spec, blind], config, told.append)

    assert result.model.spec == spec
    assert result.steps == told[-1].step == told[-1].steps == 3 * 30 + 120


@pytest.mark.slow
@pytest.mark.fault(22)
def test_a_candidate_that_diverges_is_not_chosen() -> None:
    panel, spec = prepare(seasons(2), dataset())
    broken = replace(spec, temperature=1e-300)

    result = fit_one_of(panel, [broken, spec], replace(QUICK, steps=120))

    assert result.model.spec == spec


def test_candidates_that_hardly_differ_leave_the_first_one() -> None:
    assert clearly_least([1.0, 0.99, 1.2]) == 0
    assert clearly_least([1.0, 0.99, 0.9]) == 2
    assert clearly_least([math.inf, 1.0]) == 1
    assert clearly_least([math.inf, math.inf]) == 0


def test_a_random_walk_is_left_to_repeating_the_last_value() -> None:
    panel, spec = prepare(walks(6), dataset())

    result = fit(panel, spec, replace(QUICK, naive_guard=True))

    assert result.model.fallback == "naive"
    assert result.notes[-1].startswith("naive is used instead of the network: its MASE")
    assert loads(dumps(result.model)).fallback == "naive"
    frame = predict(result.model, walks(6), [MONDAY + (HOURS - 1) * HOUR]).forecasts
    assert frame["status"].unique().to_list() == ["fallback_naive"]


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_season_is_left_to_the_network(noise: float) -> None:
    panel, spec = prepare(seasons(6, noise), dataset())

    result = fit(panel, spec, LEARNING)

    assert result.model.fallback is None
    assert result.validation is not None
    assert result.validation.mase < max(0.1, result.validation.seasonal_naive_mase)


def test_the_guard_can_be_told_to_stand_aside() -> None:
    panel, spec = prepare(walks(2), dataset())

    assert fit(panel, spec, QUICK).model.fallback is None


@pytest.mark.fault(22)
def test_a_training_that_diverges_is_tried_again_more_slowly() -> None:
    panel, spec = prepare(seasons(2), dataset())

    result = fit(panel, spec, replace(QUICK, steps=60, learning_rate=1e5, ensemble=2))

    assert result.notes == ("diverged at learning rate 100000; retried with a tenth of it",)
    assert math.isfinite(result.train_loss)


ODD: dict[str, list[float | None]] = {
    "missing": [None] * HOURS,
    "constant": [7.0] * HOURS,
    "huge": [1e300 * (1 + hour % 24) for hour in range(HOURS)],
    "at the edge": [1.7e308 * (-1) ** hour for hour in range(HOURS)],
    "tiny": [1e-300 * (1 + hour % 24) for hour in range(HOURS)],
    "one outlier": [float(hour % 24) if hour != 300 else 1e300 for hour in range(HOURS)],
    "young": [None] * (HOURS - 3) + [1.0, 2.0, 3.0],
}
FINE: list[float | None] = [10 + math.sin(math.tau * hour / 24) for hour in range(HOURS)]


@pytest.mark.fault(12)
@pytest.mark.parametrize("name", list(ODD))
@pytest.mark.parametrize("guard", [False, True], ids=["unguarded", "guarded"])
def test_odd_series_neither_stop_a_training_nor_the_forecasts_of_others(
    name: str, guard: bool
) -> None:
    series = {"fine": FINE, "odd": ODD[name]}
    result = fit(*prepare(observed(series), dataset()), replace(QUICK, naive_guard=guard))

    prediction = predict(result.model, observed(series), [MONDAY + (HOURS - 1) * HOUR])

    assert math.isfinite(result.train_loss)
    fine = prediction.forecasts.filter(pl.col("series_id") == "fine")
    assert len(fine) == 12
    numbers = prediction.forecasts.select("level", *DEVIATION_COLUMNS)
    assert bool(np.isfinite(numbers.to_numpy()).all())
    assert ("odd" in prediction.skipped) == (name in {"missing", "young", "huge", "at the edge"})


@pytest.mark.parametrize("name", [name for name in ODD if name not in {"missing", "young"}])
def test_an_odd_series_alone_trains(name: str) -> None:
    result = fit(*prepare(observed({"odd": ODD[name]}), dataset()), QUICK)

    assert math.isfinite(result.train_loss)
    assert result.validation is not None


@pytest.mark.fault(12)
def test_a_context_without_any_value_is_skipped() -> None:
    panel, spec = prepare(observed({"a": FINE}), dataset())
    model = fit(panel, spec, QUICK).model

    prediction = predict(model, observed({"a": [None] * HOURS}), [MONDAY + 300 * HOUR])

    assert prediction.skipped == {"a": SkipReason.NO_DATA}


@pytest.mark.parametrize("guard", [False, True], ids=["unguarded", "guarded"])
@pytest.mark.parametrize("hours", [9, 30, 100])
def test_a_season_longer_than_the_history_is_no_obstacle(hours: int, guard: bool) -> None:
    short = observed({"a": FINE[:hours]})
    config = dataset(season_length=168)

    result = fit(*prepare(short, config), replace(QUICK, naive_guard=guard))

    prediction = predict(result.model, short, [MONDAY + (hours - 1) * HOUR])
    assert prediction.skipped == {}
    assert len(prediction.forecasts) == 12


@pytest.mark.fault(22)
def test_a_learning_rate_beyond_reason_is_refused_after_the_second_try() -> None:
    panel, spec = prepare(seasons(2), dataset())

    with pytest.raises(TrainingDiverged, match="the loss is nan at step"):
        fit(panel, spec, replace(QUICK, steps=60, learning_rate=1e30))
