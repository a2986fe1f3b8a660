"""A trial: what is told before it trains, several seeds, windows of each series, forecasts."""

from dataclasses import replace

import polars as pl
import pytest
import torch
from hypothesis import example, given, settings

from forecaster.data.anchor import detect_grid
from forecaster.data.panel import build
from forecaster.data.windows import gather
from forecaster.errors import DataError
from forecaster.evaluation import cutoffs
from forecaster.evaluation.cutoffs import BacktestWindows, Rolling
from forecaster.experiments import experiment, rivals
from forecaster.experiments.experiment import TrainingPlan
from forecaster.experiments.stage import Listener, Prepared
from forecaster.experiments.testable import ENDED, NOT_KNOWN
from tests.data.observed import HOUR, observed
from tests.experiments.trials import (
    DATASET,
    GRID,
    HORIZON,
    HOURS,
    ROWS,
    chosen,
    poison,
    run,
    waves,
)
from tests.tolerance import assert_close


def test_what_cannot_be_tested_is_told_before_anything_is_trained() -> None:
    sick: dict[str, list[float | None]] = {
        "began late": [None] * 290 + [1.0] * 10,
        "ended": [*waves(2)[:200], *[None] * 100],
        "gone": [*waves(3)[:200], *[None] * 99, 1.0],
        "flag": [7.0] * HOURS,
    }
    rows = pl.concat([ROWS, observed(sick).drop_nulls("value")]).sort("series_id", "timestamp")
    told: list[Prepared | int] = []

    found = run(
        rows, watch=Listener(prepared=told.append, training=lambda at: told.append(at.step))
    )

    assert isinstance(told[0], Prepared)
    assert told[0].left_out == found.left_out
    assert told[0].left_out == {"began late": NOT_KNOWN, "ended": ENDED, "gone": "stale"}
    assert told[0].still == ["flag"]
    assert told[1:] == [2]


def test_what_is_raised_at_what_is_prepared_ends_a_trial_before_it_trains() -> None:
    def refuse(_: Prepared) -> None:
        raise DataError("not this")

    steps: list[int] = []

    with pytest.raises(DataError, match="not this"):
        run(ROWS, watch=Listener(prepared=refuse, training=lambda at: steps.append(at.step)))

    assert steps == []


def test_several_seeds_are_several_models_beside_rivals_that_forecast_once() -> None:
    found = experiment.run(ROWS, chosen(ROWS), DATASET, rivals.USUAL, plan=TrainingPlan(seeds=2))

    names = found.backtest.overall()["predictor"].to_list()
    assert names == ["model 0", "model 1", "naive", "seasonal_naive"]
    assert [(each.name, each.seed) for each in found.trainings] == [("model 0", 0), ("model 1", 1)]
    ours = found.backtest.sums.filter(pl.col("predictor") == "model 1")
    alone = run(ROWS, dataset=replace(DATASET, training=replace(DATASET.training, seed=1)))
    theirs = alone.backtest.sums.filter(pl.col("predictor") == "model")
    assert ours.drop("predictor").equals(theirs.drop("predictor"))


def at_series_ends(rows: pl.DataFrame) -> BacktestWindows:
    rolling = Rolling(prediction_length=HORIZON, stride=HORIZON, windows=2)
    return cutoffs.at_series_ends(rows, detect_grid(rows, DATASET.step, "UTC"), rolling)


@settings(max_examples=4)
@given(value=poison)
@example(value=-1e30)
def test_nothing_after_the_cutoff_of_a_series_reaches_a_model_though_others_go_on(
    value: float,
) -> None:
    early = observed({"early": waves(2)[:200]})
    rows = pl.concat([ROWS, early]).sort("series_id", "timestamp")
    chosen_windows = at_series_ends(rows)
    kept = replace(chosen_windows, windows=chosen_windows.windows.filter(pl.col("turn") == 0))
    ends = chosen_windows.limits.select("series_id", limit=chosen_windows.grid.timestamps_of(
        chosen_windows.limits["end"]
    ))  # fmt: skip
    limited = rows.join(ends, on="series_id", maintain_order="left")
    is_later = pl.col("timestamp") > pl.col("limit")
    poisoned = limited.with_columns(value=pl.when(is_later).then(value).otherwise("value"))

    whole, spoiled = (recorded(each.select(rows.columns), kept) for each in (rows, poisoned))

    assert whole["series_id"].unique().sort().to_list() == ["a", "b", "early"]
    assert whole.drop("actual").equals(spoiled.drop("actual"))


def recorded(rows: pl.DataFrame, kept: BacktestWindows) -> pl.DataFrame:
    """Every forecast of a trial."""
    frames: list[pl.DataFrame] = []
    experiment.run(rows, kept, DATASET, rivals.USUAL, listener=Listener(forecasts=frames.append))
    return pl.concat(frames)


def test_every_forecast_is_recorded_in_units_of_the_data() -> None:
    found = recorded(ROWS, chosen(ROWS, 2))

    assert len(found) == 3 * 2 * 2 * HORIZON
    naive_rows = found.filter(pl.col("predictor") == "naive", pl.col("series_id") == "a")
    values = ROWS.filter(pl.col("series_id") == "a")
    known = values.select(cutoff="timestamp", expected="value")
    beside = naive_rows.join(known, on="cutoff")
    assert_close(beside["q50"], beside["expected"])
    actual = naive_rows.join(values.select("timestamp", "value"), on="timestamp")
    assert_close(actual["actual"], actual["value"])
    first = naive_rows.row(0, named=True)
    assert first["timestamp"] - first["cutoff"] == HOUR * first["step"] == HOUR


@pytest.mark.parametrize(
    ("name", "season", "memory"),
    [
        ("naive", 24, 2000),
        ("seasonal_naive", 24, 2000),
        ("seasonal_naive", 1440, 4320),
        ("drift", 1440, 4320),
        ("naive2", 24, 30_000),
    ],
)
def test_rivals_look_back_as_far_as_they_need(name: str, season: int, memory: int) -> None:
    rows = observed({"a": [1.0, 2.0] * 15_000})
    spec = replace(run(ROWS).trainings[0].spec, season_length=season)

    assert rivals.lookback_of(name, build(rows, GRID), spec) == memory


def test_a_rival_looks_back_however_short_the_contexts_of_its_windows_are() -> None:
    panel, spec = build(ROWS, GRID, season_length=24), run(ROWS).trainings[0].spec
    rows, cutoffs = torch.tensor([0, 1]), torch.tensor([panel.end - 9] * 2)
    short, long = (gather(panel, rows, cutoffs, length) for length in (1, HOURS))

    for name in (*rivals.USUAL, "drift", "naive2"):
        rival = rivals.rival(name, panel, spec)
        assert torch.equal(rival(short), rival(long))
        assert bool(rival(short).isfinite().all())
