"""Training: what is learnt, from which windows, and what makes it stop."""

import math
from collections.abc import Sequence

import polars as pl
import pytest
import torch

from forecaster.config.settings import TrainingConfig
from forecaster.errors import ConfigError, InsufficientHistory, ModelError, TrainingDiverged
from forecaster.inference.checkpoint import dumps
from forecaster.inference.device import choose_device
from forecaster.inference.predictor import predict
from forecaster.training.estimator import (
    Progress,
    fit,
    plan,
)
from forecaster.training.holdout import windows_to_spare
from forecaster.training.hyperparameters import context_length, patch_length
from forecaster.training.loss import series_weights
from forecaster.training.masking import cut_gaps, hide_values
from forecaster.training.preparation import prepare
from forecaster.training.sampling import cutoff_ranges
from tests.config.configs import small_dataset as dataset
from tests.data.observed import HOUR, MONDAY, observed
from tests.network.networks import small_spec

QUICK = TrainingConfig(steps=3, batch_size=8, device="cpu")


def wave(hours: int, phase: float = 0.0) -> list[float | None]:
    return [10 + math.sin(math.tau * hour / 24 + phase) + hour % 7 / 50 for hour in range(hours)]


def daily(hours: int = 500) -> pl.DataFrame:
    return observed({"a": wave(hours), "b": wave(hours, 1.0)})


def test_the_shape_follows_from_the_data() -> None:
    panel, spec = prepare(daily(), dataset())
    assert len(panel) == 2
    assert (spec.season_length, spec.patch_length) == (24, 12)
    assert spec.context_length == 14 * 12
    assert spec.max_lag == 12
    assert spec.grid() == panel.grid


def test_settings_come_before_what_the_data_say() -> None:
    _, spec = prepare(daily(), dataset(season_length=12, patch_length=6, context_length=50))
    assert (spec.season_length, spec.patch_length, spec.context_length) == (12, 6, 48)


@pytest.mark.parametrize(
    ("horizon", "model", "found"),
    [
        (12, {"patch_length": 1, "context_length": 4097}, "4097 past and 12 future patches"),
        (900_000, {"patch_length": 1, "context_length": 20}, "20 past and 900000 future patches"),
    ],
)
def test_settings_that_leave_too_many_patches_are_refused(
    horizon: int, model: dict[str, object], found: str
) -> None:
    with pytest.raises(ConfigError, match=rf"datasets\.small\.model: .* found {found}") as caught:
        prepare(daily(), dataset(prediction_length=horizon, **model))  # type: ignore[arg-type]
    assert "patch_length" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("season", "horizon", "room", "expected"),
    [
        (24, 48, 999, 24),
        (24, 4, 999, 8),
        (52, 13, 999, 13),
        (288, 48, 999, 48),
        (7, 28, 999, 7),
        (2, 6, 999, 8),
        (53, 12, 999, 53),
        (53, 12, 40, 8),
        (131, 12, 999, 8),
        (1, 48, 999, 8),
        (1, 5, 999, 4),
        (24, 48, 6, 3),
        (1, 5, 1, 1),
    ],
)
def test_a_patch_is_the_largest_useful_divisor_of_the_season(
    season: int, horizon: int, room: int, expected: int
) -> None:
    assert patch_length(season, horizon, room) == expected


def test_a_context_holds_long_seasons_but_not_everything() -> None:
    assert context_length(24, 168, 24, 48) == 336
    assert context_length(24, 24, 24, 400) == 800
    assert context_length(288, 2016, 12, 12) == 768


@pytest.mark.parametrize("length", [8, 20, 60])
def test_a_tiny_dataset_still_trains(length: int) -> None:
    panel, spec = prepare(observed({"a": wave(length)}), dataset())
    result = fit(panel, spec, QUICK)
    assert math.isfinite(result.train_loss)


@pytest.mark.parametrize(
    ("length", "model"),
    [(3, {}), (4, {}), (60, {"context_length": 1, "patch_length": 1})],
    ids=["three values", "four values", "a context of one step"],
)
def test_what_can_be_trained_can_be_forecast(length: int, model: dict[str, object]) -> None:
    observations = observed({"a": wave(length)})
    result = fit(*prepare(observations, dataset(**model)), QUICK)  # type: ignore[arg-type]

    said = predict(result.model, observations, [MONDAY + (length - 1) * HOUR])

    assert (said.skipped, said.forecasts.height) == ({}, 12)


@pytest.mark.fault(12)
def test_a_dataset_without_a_window_to_learn_from_is_refused() -> None:
    with pytest.raises(InsufficientHistory, match="no series has more than"):
        prepare(observed({"a": [1.0, 2.0], "b": [None] * 5}), dataset())


@pytest.mark.fault(12)
def test_constant_series_train_to_a_constant() -> None:
    panel, spec = prepare(observed({"a": [5.0] * 100}), dataset())
    result = fit(panel, spec, QUICK)
    assert math.isfinite(result.train_loss)
    assert result.validation is not None
    assert result.validation.wql < 1e-4  # tolerance: how well it learnt


def test_the_same_seed_gives_the_same_bits_and_leaves_the_random_state_alone() -> None:
    panel, spec = prepare(daily(), dataset())
    before = torch.random.get_rng_state()
    first, second = fit(panel, spec, QUICK), fit(panel, spec, QUICK)
    other = fit(panel, spec, TrainingConfig(steps=3, batch_size=8, device="cpu", seed=1))
    assert dumps(first.model) == dumps(second.model) != dumps(other.model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_learns_a_season_and_says_how_well() -> None:
    panel, spec = prepare(daily(), dataset())
    told: list[Progress] = []
    config = TrainingConfig(steps=120, batch_size=32, device="cpu")
    result = fit(panel, spec, config, told.append)
    assert told[-1].step == told[-1].steps >= 120
    assert told[-1].loss < told[0].loss
    assert result.validation is not None
    assert 0 < result.validation.mase < 2
    assert 0 <= result.validation.coverage_80 <= 1
    assert result.device == "cpu"
    assert result.windows_per_second > 0
    assert dict(result.model.series_scale) == dict(
        zip(panel.series_ids, panel.scale.tolist(), strict=True)
    )


def test_a_loss_that_is_no_longer_finite_stops_the_training() -> None:
    panel, spec = prepare(daily(), dataset())
    wild = TrainingConfig(steps=200, batch_size=8, learning_rate=1e30, device="cpu")
    with pytest.raises(TrainingDiverged, match="the loss is nan at step") as caught:
        fit(panel, spec, wild)
    assert "learning_rate" in str(caught.value.hint)


def test_a_short_history_is_learnt_to_its_end_once_the_validation_is_done() -> None:
    told: list[Progress] = []
    short, long = prepare(daily(100), dataset()), prepare(daily(300), dataset())
    result = fit(*short, QUICK, told.append)
    assert result.steps == 6
    assert [(progress.step, progress.steps) for progress in told] == [(3, 6), (6, 6)]
    assert fit(*long, QUICK).steps == 3


@pytest.mark.parametrize("steps", range(1, 9))
def test_any_number_of_steps_can_be_asked_for(steps: int) -> None:
    panel, spec = prepare(daily(300), dataset())
    assert fit(panel, spec, TrainingConfig(steps=steps, batch_size=4)).steps == steps


def test_few_windows_are_not_repeated_for_ever() -> None:
    few, many = prepare(daily(100), dataset()), prepare(daily(5000), dataset())
    assert plan(TrainingConfig(), *few).steps < plan(TrainingConfig(), *many).steps


def test_windows_to_learn_from_have_context_and_whole_targets() -> None:
    late: Sequence[float | None] = [None] * 30 + wave(70)
    short = [None] * 90 + wave(10)
    panel, _ = prepare(observed({"late": late, "short": short, "none": [None] * 100}), dataset())
    ranges = cutoff_ranges(panel, small_spec(min_observed=8, prediction_length=10))
    assert [panel.series_ids[row] for row in ranges.rows] == ["late", "short"]
    assert (ranges.first - panel.start).tolist() == [37, 97]
    assert ranges.count.tolist() == [89 - 37 + 1, 1]
    rows, cutoffs = ranges.draw(1000, torch.Generator().manual_seed(0))
    drawn = (cutoffs - panel.start)[rows == ranges.rows[0]]
    assert {int(drawn.min()), int(drawn.max())} == {37, 89}


def test_validation_never_takes_more_than_a_quarter() -> None:
    assert windows_to_spare(10_000, 48) == 10
    assert windows_to_spare(960, 48) == 1
    assert windows_to_spare(60, 12) == 1
    assert windows_to_spare(40, 12) == 0
    assert windows_to_spare(960, 48, stride=8) == 5


def test_series_that_change_sign_weigh_one_and_others_by_their_relative_error() -> None:
    panel, _ = prepare(
        observed(
            {
                "noisy": [1.0, 3.0] * 40,
                "quiet": [100.0, 101.0] * 40,
                "signed": [1.0, -1.0] * 40,
            }
        ),
        dataset(),
    )
    weights = dict(zip(panel.series_ids, series_weights(panel).tolist(), strict=True))
    assert weights["signed"] == 1
    assert weights["noisy"] > 1 > weights["quiet"] > 0.5
    assert weights["noisy"] + weights["quiet"] == pytest.approx(2)


def test_gaps_cut_some_windows_short_by_up_to_the_longest_lag() -> None:
    noisy = cut_gaps(torch.zeros(4000, 48), 12, 4, torch.Generator().manual_seed(0))
    missing = noisy.isnan()
    lag = missing.flip(1).cumprod(1).sum(1)
    assert 0.2 < float((lag > 0).float().mean()) < 0.3
    assert int(lag.max()) in range(12, 20)  # a hole may lie before it
    assert 0.05 < float((missing.any(1) & (lag == 0)).float().mean()) < 0.15


def test_values_and_whole_patches_are_hidden_on_half_of_the_windows() -> None:
    hidden = hide_values(torch.zeros(4000, 48), 4, torch.Generator().manual_seed(0))
    assert 0.45 < float(hidden.any(1).float().mean()) < 0.55
    whole = hidden.unflatten(1, (-1, 4)).all(2)
    assert 0.02 < float(whole.float().mean()) < 0.03
    assert 0.06 < float(hidden.float().mean()) < 0.09


def test_the_panel_of_the_caller_is_left_alone() -> None:
    panel, spec = prepare(observed({"a": [*wave(90), None, *wave(9)]}), dataset())
    before = panel.deviations.clone()
    fit(panel, spec, QUICK)
    torch.testing.assert_close(panel.deviations, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta device"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"device '{name}' is not available"):
        choose_device(name)
