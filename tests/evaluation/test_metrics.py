"""Accuracy: the definitions, the stored sums, and what is read from them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import exact
from forecaster.baselines.naive import PointForecast, naive, seasonal_naive
from forecaster.data.grid import Grid
from forecaster.data.panel import build
from forecaster.data.windows import gather
from forecaster.evaluation import metrics
from forecaster.schemas import ACCURACY, QUANTILE_COLUMNS, QUANTILE_LEVELS
from forecaster.times.durations import Step
from tests.data.observed import shared_series

CUTOFF = datetime(2024, 1, 1, tzinfo=UTC)


def matured(
    actual: list[float | None],
    *,
    median: float = 0.0,
    spread: float = 10.0,
    seasonal_naive: float | None = 2.0,
    series_id: str = "s",
    scale: float = 1.0,
) -> pl.DataFrame:
    """One forecast of len(actual) steps; quantiles lie at median + spread * (level - 1/2)."""
    steps = range(1, len(actual) + 1)
    levels = zip(QUANTILE_COLUMNS, QUANTILE_LEVELS, strict=True)
    return pl.DataFrame(
        {
            "series_id": series_id,
            "cutoff": CUTOFF,
            "step": pl.Series(steps, dtype=pl.Int32),
            "timestamp": [CUTOFF + timedelta(hours=step) for step in steps],
            **{name: median + spread * (level - 0.5) for name, level in levels},
            "actual": pl.Series(actual, dtype=pl.Float64),
            "seasonal_naive": pl.Series([seasonal_naive] * len(actual), dtype=pl.Float64),
            "scale": scale,
        }
    ).cast({"cutoff": pl.Datetime("us", "UTC"), "timestamp": pl.Datetime("us", "UTC")})


@given(st.integers(1, 5000))
def test_leads_cover_every_step_once_in_at_most_six_buckets(prediction_length: int) -> None:
    buckets = metrics.leads(prediction_length)
    steps = [step for b in buckets for step in range(b.step_from, b.step_to + 1)]
    assert steps == list(range(1, prediction_length + 1))
    assert len(buckets) <= 6
    assert buckets[0].step_to == 1
    assert len({bucket.name for bucket in buckets}) == len(buckets)


@pytest.mark.parametrize(
    ("prediction_length", "names"),
    [
        (1, "1"),
        (2, "1 2"),
        (7, "1 2-3 4-7"),
        (13, "1 2 3-6 7-13"),
        (48, "1 2 3-5 6-10 11-22 23-48"),
    ],
)
def test_leads_are_decided_by_the_prediction_length(prediction_length: int, names: str) -> None:
    assert [lead.name for lead in metrics.leads(prediction_length)] == names.split()


def test_a_forecast_of_no_steps_has_no_leads() -> None:
    with pytest.raises(ValueError, match="at least 1, found 0"):
        metrics.leads(0)


def test_score_sums_each_lead_by_hand() -> None:
    scored = metrics.score(matured([1.0, 3.0, -6.0], scale=4.0), 3)
    first, second = scored.rows(named=True)
    assert scored.schema == ACCURACY
    assert (first["lead"], first["points"], first["scale"]) == ("1", 1, 4.0)
    assert (second["lead"], second["points"], second["scale"]) == ("2-3", 2, 4.0)
    assert second["absolute_error"] == 9.0
    assert second["seasonal_naive_error"] == 9.0
    assert second["bias"] == 3.0
    assert second["absolute_actual"] == 9.0
    assert second["width_80"] == pytest.approx(16.0)
    assert (first["covered_50"], first["covered_80"], first["covered_95"]) == (1, 1, 1)
    assert (second["covered_50"], second["covered_80"], second["covered_95"]) == (0, 1, 1)


def test_score_and_the_array_functions_agree() -> None:
    actual = np.random.default_rng(0).normal(0, 4, (1, 20))
    scored = metrics.score(matured(actual[0].tolist(), scale=3.0), 20)
    summary = metrics.summarise(scored).row(0, named=True)
    levels = np.array(QUANTILE_LEVELS)
    quantiles = np.broadcast_to(10 * (levels - 0.5), (1, 20, len(levels)))
    assert scored["pinball"].sum() == pytest.approx(
        exact.pinball(actual, quantiles, QUANTILE_LEVELS).sum()
    )
    assert summary["wql"] == pytest.approx(exact.wql(actual, quantiles, QUANTILE_LEVELS))
    assert summary["mase"] == pytest.approx(exact.mase(actual, np.zeros((1, 20)), np.array([3.0])))
    assert summary["coverage_80"] == exact.coverage(actual, quantiles[..., 2], quantiles[..., 10])


def test_points_without_an_actual_or_a_yardstick_are_left_out() -> None:
    half_known = matured([1.0, None, float("nan"), 2.0])
    without_yardstick = matured([1.0], seasonal_naive=None, series_id="t")
    scored = metrics.score(pl.concat([half_known, without_yardstick]), 4)
    assert scored["points"].sum() == 2
    assert scored["series_id"].unique().to_list() == ["s"]


def test_nothing_matured_gives_no_rows() -> None:
    assert metrics.score(matured([None]), 1).is_empty()


def test_scoring_does_not_depend_on_the_order_of_rows() -> None:
    rows = matured([1.0, 3.0, -6.0, 0.5])
    shuffled = metrics.score(rows.sample(fraction=1, shuffle=True, seed=1), 4)
    assert shuffled.equals(metrics.score(rows, 4))


def test_summary_is_a_mean_over_series_not_over_points() -> None:
    long = metrics.score(matured([1.0] * 9, series_id="long"), 9)
    short = metrics.score(matured([3.0], series_id="short", scale=2.0), 1)
    summary = metrics.summarise(pl.concat([long, short])).row(0, named=True)
    assert (summary["series"], summary["points"]) == (2, 10)
    assert summary["mase"] == pytest.approx((1.0 + 1.5) / 2)
    assert summary["seasonal_naive_mase"] == pytest.approx((1.0 + 0.5) / 2)
    assert summary["skill"] == pytest.approx(1 - 1.25 / 0.75)
    assert summary["bias"] == pytest.approx((-1.0 - 1.5) / 2)


def test_summary_by_lead_has_one_row_for_each() -> None:
    scored = metrics.score(matured([1.0, 3.0, -6.0]), 3)
    summary = metrics.summarise(scored, by=["lead"])
    assert summary["lead"].to_list() == ["1", "2-3"]
    assert summary["mase"].to_list() == [1.0, 4.5]


def test_summary_by_series_does_not_mix_them() -> None:
    scored = pl.concat(
        metrics.score(matured([value], series_id=name), 1) for name, value in (("a", 1), ("b", 3))
    )
    assert metrics.summarise(scored, by=["series_id"])["mase"].to_list() == [1.0, 3.0]


def test_definitions_by_hand() -> None:
    actual, forecast = np.array([[1.0, 3.0], [0.0, np.nan]]), np.array([[2.0, 1.0], [0.0, 5.0]])
    assert exact.mase(actual, forecast, np.array([0.5, 1.0])) == 1.5
    assert exact.smape(actual, forecast) == pytest.approx((200 * (1 / 3 + 2 / 4) / 2 + 0) / 2)
    assert exact.coverage(actual, forecast - 1, forecast + 1) == pytest.approx(2 / 3)
    assert exact.owa(9.0, 0.5, naive2_smape=18.0, naive2_mase=2.0) == 0.375
    quantiles = np.array([[[1.0, 2.0], [2.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    loss = exact.pinball(actual, quantiles, (0.1, 0.9))
    assert loss[0] == pytest.approx(np.array([[0.0, 0.1], [0.1, 0.9]]))
    assert exact.wql(actual, quantiles, (0.1, 0.9)) == pytest.approx(2 * 1.1 / 2 / 4)


def test_seasonal_error_uses_a_lag_of_one_for_histories_shorter_than_the_season() -> None:
    history = np.array([[1.0, 2.0, 4.0, np.nan]])
    assert exact.seasonal_error(history, 2) == pytest.approx([3.0])
    assert exact.seasonal_error(history, 24) == pytest.approx([1.5])


def test_a_history_without_a_pair_has_no_seasonal_error() -> None:
    assert np.isnan(exact.seasonal_error(np.array([[1.0, np.nan]]), 1)).all()


@pytest.mark.parametrize(
    ("baseline", "season_length", "smape", "mase"),
    [(naive, 1, 43.003, 11.608), (seasonal_naive, 24, 13.912, 1.193)],
)
def test_published_m4_hourly_figures_are_reproduced(
    shared_data: Path, baseline: PointForecast, season_length: int, smape: float, mase: float
) -> None:
    path = shared_data / "m4_hourly.parquet"
    series, split = shared_series(path), pl.read_parquet(path).sort("series_id", "ts")["split"]
    grid = Grid(step=Step.parse("1h"), anchor=0)
    panel = build(series.filter(split == "train"), grid, season_length=24)
    test = series.filter(split == "test").with_columns(
        grid.index_of(series.filter(split == "test")["timestamp"]).alias("index")
    )
    cutoffs = test.group_by("series_id").agg(pl.col("index").min() - 1).sort("series_id")["index"]
    actual = test["value"].to_numpy().reshape(-1, 48)

    context = gather(panel, torch.arange(414), cutoffs.to_torch(), 48).context.double()
    forecast = baseline(context, 48, season_length) * panel.scale[:, None] + panel.offset[:, None]

    assert round(exact.smape(actual, forecast.numpy()), 3) == smape
    assert round(exact.mase(actual, forecast.numpy(), panel.scale.numpy()), 3) == mase


@pytest.mark.parametrize("seed", range(20))
def test_equal_rows_have_equal_summaries_to_the_last_bit(seed: int) -> None:
    """Else the order in which threads finish decides which of two equal forecasts serves."""
    count, random = 51 * 6, np.random.default_rng(seed)
    numbers = [name for name in ACCURACY.names() if name not in ("series_id", "cutoff", "lead")]
    rows = pl.DataFrame(
        {"series_id": [f"s{place // 6}" for place in range(count)]}
        | {name: 1 + random.random(count) for name in numbers}
    )
    twice = pl.concat([rows.with_columns(predictor=pl.lit(name)) for name in ("one", "other")])

    one, other = metrics.summarise(twice, ["predictor"]).drop("predictor").rows()

    assert one == other
