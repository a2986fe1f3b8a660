"""Protocols: which windows are judged, what training may see, and where forecasts land."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks import ablation, data, exact, ltsf
from benchmarks.accuracy import judged, naive
from benchmarks.protocols import TASKS, Task, Trial
from benchmarks.scores import point
from benchmarks.where import by_lead, by_noise, window_errors
from forecaster.schemas import INSTANT
from forecaster.training import estimator, preparation
from tests.tolerance import assert_close

HOURS = 24 * 30


def waves() -> pl.DataFrame:
    """Return two hourly series that repeat every day, the second one ten times as large."""
    hours = np.arange(HOURS)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    timestamps = pl.Series([start + timedelta(hours=int(hour)) for hour in hours], dtype=INSTANT)
    wave = 5 + np.sin(hours / 24 * 2 * np.pi) + 0.01 * hours
    return pl.concat(
        pl.DataFrame({"series_id": name, "timestamp": timestamps, "value": size * wave})
        for name, size in (("a", 1.0), ("b", 10.0))
    )


def noisy() -> pl.DataFrame:
    noise = pl.Series(np.random.default_rng(0).normal(size=2 * HOURS))
    return waves().with_columns(pl.col("value") * (1 + 0.2 * noise))


WAVES = Task(name="waves", about="", load=waves, horizon=12, test=48, stride=12, seasons=(24,))


def test_windows_follow_each_other_to_the_end_and_training_ends_before_them() -> None:
    trial = Trial(WAVES)

    known = trial.known()

    assert trial.actual.shape == (2 * 4, 12)
    assert len(known) == 2 * (HOURS - 48)
    assert_close(trial.actual[:4].ravel(), waves()["value"][HOURS - 48 : HOURS])


def test_the_denominator_stays_or_moves_with_the_window() -> None:
    still, moving = Trial(WAVES), Trial(replace(WAVES, moving=True))

    assert len(set(still.scale[:4])) == 1
    assert_close(still.scale[0], moving.scale[0])
    np.testing.assert_allclose(still.scale[:4], 0.24, rtol=1e-4)


def test_the_forecasts_of_a_model_land_at_their_windows() -> None:
    trial = Trial(WAVES)
    panel, spec = preparation.prepare(trial.known(), WAVES.config(0, steps=2))
    model = estimator.fit(panel, spec, WAVES.config(0, steps=2).training).model

    quantiles = trial.forecast(model)

    assert quantiles.shape == (8, 12, 9)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()
    assert (quantiles[4:] > 3 * quantiles[:4]).all()  # series b, ten times the size of a


def test_a_forecast_with_a_hole_takes_the_point_from_all_of_them() -> None:
    trial = Trial(WAVES)
    whole = point(trial.actual + 1)
    holed = whole.copy()
    holed[:4] = np.nan

    rows = judged(trial, {"model": holed}, {"naive": whole}, {})

    assert [row["windows"] for row in rows] == [4, 4]
    assert rows[0]["mase"] == rows[1]["mase"]


def test_naive_forecasts_repeat_what_is_known_at_the_cutoff() -> None:
    trial = Trial(WAVES)

    said = naive(trial)

    expected = waves()["value"].to_numpy()[HOURS - 48 - 24 : HOURS - 48 - 12]
    assert_close(said["seasonal_naive 24"][0, :, 4], expected)


def test_every_window_counts_as_a_series_with_the_denominator_of_the_task() -> None:
    trial = Trial(replace(WAVES, moving=True, partial=True, stride=10))
    said = trial.actual + trial.rows.numpy()[:, None] + 1
    said[trial.actual % 2 < 1] += 5

    found = trial.backtest({"model": trial.said(point(said))}).of("model")

    assert found is not None
    assert found["series"] == len(trial.actual)
    assert found["mase"] == pytest.approx(exact.mase(trial.actual, said, trial.scale))
    assert found["smape"] == pytest.approx(exact.smape(trial.actual, said))


def test_live_forecasts_of_a_model_are_those_that_a_user_gets() -> None:
    trial, config = Trial(replace(WAVES, load=noisy)), WAVES.config(0, steps=2)
    panel, spec = preparation.prepare(trial.known(), config)
    model = estimator.fit(panel, spec, config.training).model

    live = ablation.judged(trial, model)

    stored = trial.backtest({"model": trial.said(trial.forecast(model))}).of("model")
    assert stored is not None
    for name in ("mase", "smape", "coverage_80"):
        assert live[name] == pytest.approx(stored[name], rel=1e-5)


def test_errors_are_shared_out_by_lead() -> None:
    trial = Trial(WAVES)
    quantiles = point(trial.actual + np.where(np.arange(12) == 0, 1.0, 3.0))
    found = trial.backtest({"model": trial.said(quantiles)})

    leads = list(by_lead(found, trial.actual, quantiles))

    off_by_one = float((1 / trial.scale).mean())
    assert [row["steps ahead"] for row in leads] == ["1", "2", "3-5", "6-12"]
    assert [row["mase"] for row in leads] == pytest.approx([off_by_one, *[3 * off_by_one] * 3])
    assert "coverage_80" not in leads[0]


def test_a_window_that_nothing_was_said_about_has_no_error() -> None:
    trial = Trial(WAVES)
    quantiles = point(trial.actual + trial.scale[:, None]).copy()
    quantiles[3] = np.nan

    errors = window_errors(trial, trial.backtest({"model": trial.said(quantiles)}))

    assert np.isnan(errors[3]).all()
    np.testing.assert_allclose(np.delete(errors[:, 0], 3), 1.0, rtol=1e-5)


def test_errors_are_shared_out_by_noise() -> None:
    errors = np.full((20, 2), 2.0)

    tenths = list(by_noise(errors, np.arange(1.0, 21.0)))

    assert [row["windows"] for row in tenths] == [2] * 10
    assert_close(sum(float(str(row["share of mase"])) for row in tenths), 1.0)


def test_every_long_horizon_window_lies_in_the_test_months() -> None:
    ends = ltsf.test_ends(0, 96)

    assert len(ends) == 2880 - 96 + 1
    assert ends[0] + 1 == 8640 + 2880
    assert ends[-1] + 96 == 14_400 - 1


def test_long_horizon_errors_are_those_of_z_scores() -> None:
    panel, _ = preparation.prepare(waves(), WAVES.config(0))
    deviation = waves().filter(pl.col("series_id") == "b")["value"].std(ddof=0)
    assert isinstance(deviation, float)
    errors, actual = ltsf.Errors(panel), np.zeros((1, 4))

    errors.add(torch.tensor([1]).numpy(), actual, actual + 2 * deviation)

    found = errors.scores("constant")
    assert {name: round(float(str(found[name])), 4) for name in ("mse", "mae")} == {
        "mse": 4.0,
        "mae": 2.0,
    }


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("task", [task for task in TASKS if task.file], ids=lambda task: task.name)
def test_the_file_of_a_task_has_the_sha256_that_the_documents_give(task: Task) -> None:
    assert task.file is not None

    digest = data.sha256(task.file)

    text = (data.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert f"`{digest}`" in next(line for line in text.splitlines() if f"`{task.file}.p" in line)
