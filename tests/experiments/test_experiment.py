"""A trial: the model and its rivals on windows that none of them has seen anything of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecaster.baselines import naive
from forecaster.data.anchor import detect_grid
from forecaster.data.panel import build
from forecaster.data.windows import gather
from forecaster.errors import ConfigError
from forecaster.evaluation import cutoffs
from forecaster.evaluation.cutoffs import Rolling
from forecaster.experiments import experiment, rivals
from forecaster.experiments.continued import continued
from forecaster.experiments.experiment import TrainingPlan
from forecaster.experiments.stage import Listener
from forecaster.experiments.testable import ENDED, NOT_KNOWN
from forecaster.schemas import INSTANT
from forecaster.times.durations import Step
from tests.data.observed import HOUR, MONDAY, observed
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
from tests.tolerance import assert_close, within


def test_everybody_forecasts_the_same_points() -> None:
    found = run(ROWS)

    assert found.backtest.overall()["predictor"].to_list() == ["model", "naive", "seasonal_naive"]
    assert found.backtest.overall()["points"].to_list() == [2 * 3 * HORIZON] * 3
    assert found.left_out == {}


def test_the_model_is_trained_once_on_what_lies_before_the_first_window() -> None:
    (made,) = run(ROWS).trainings

    assert made.prepared.trained_to == MONDAY + (HOURS - 1 - 3 * HORIZON) * HOUR


def test_refitting_trains_before_each_window_on_what_was_known_by_then() -> None:
    made = run(ROWS, refit=True)

    ends = [each.prepared.trained_to for each in made.trainings]
    assert ends == [MONDAY + (HOURS - 1 - back * HORIZON) * HOUR for back in (3, 2, 1)]
    assert made.backtest.windows == 2 * 3
    assert made.backtest.overall()["points"].to_list() == [2 * 3 * HORIZON] * 3


@settings(max_examples=6)
@given(value=poison, refit=st.booleans())
def test_what_comes_after_a_cutoff_changes_nothing_that_was_said_at_it(
    value: float, refit: bool
) -> None:
    cutoff = MONDAY + (HOURS - 1 - HORIZON) * HOUR  # that of the last of three windows
    told = pl.when(pl.col("timestamp") > cutoff).then(value).otherwise("value")
    poisoned = ROWS.with_columns(value=told)

    whole, spoiled = (errors_before_the_last(rows, refit) for rows in (ROWS, poisoned))

    assert whole == spoiled


def errors_before_the_last(rows: pl.DataFrame, refit: bool) -> list[dict[str, object]]:
    """How right everybody was at the first two windows of three."""
    first = chosen(rows)
    kept = replace(first, windows=first.windows.filter(pl.col("turn") < 2))
    names = [*rivals.USUAL, "drift", "markov_chain", "naive2"]
    found = experiment.run(rows, kept, DATASET, names, plan=TrainingPlan(refit=refit)).backtest
    return found.sums.to_dicts()


def test_values_before_the_limit_never_change_by_a_bit_however_large_the_later_ones() -> None:
    known = ROWS.filter(pl.col("timestamp") < MONDAY + 200 * HOUR)
    panel = build(known, GRID, season_length=24)
    after = torch.tensor([panel.end, panel.end])
    later = ROWS.filter(pl.col("timestamp") >= MONDAY + 200 * HOUR).with_columns(
        value=pl.col("value") * 1e20
    )

    whole = continued(panel, later, after)

    assert torch.equal(whole.deviations[:, : panel.length], panel.deviations)
    assert torch.equal(whole.scale, panel.scale)
    assert whole.length == HOURS
    assert bool(whole.deviations[:, panel.length :].isfinite().all())


minutes = st.integers(0, 59).map(lambda minute: timedelta(minutes=minute))


@settings(max_examples=5)
@given(before=minutes, after=minutes, changed=st.integers(100, 149))
@example(before=timedelta(minutes=27), after=timedelta(minutes=47), changed=140)
def test_no_row_that_was_trained_on_is_judged_though_stamps_move_within_their_hour(
    before: timedelta, after: timedelta, changed: int
) -> None:
    moved = pl.when(pl.col("timestamp") < MONDAY + changed * HOUR).then(before).otherwise(after)
    rows = ROWS.with_columns(pl.col("timestamp") + moved, value=pl.col("value") + 1000)
    _, later = chosen(rows, windows=14).split_known(rows, None)
    is_later = pl.col("timestamp") >= later["timestamp"].min()
    rows = rows.with_columns(value=pl.when(is_later).then(1.0).otherwise("value"))

    found = run(rows, ["naive"], windows=14).backtest

    size = found.sums["absolute_actual"] / found.sums["points"]
    assert size.to_list() == pytest.approx([1.0] * len(size), rel=0.01)


def test_no_row_that_was_trained_on_is_judged_though_days_begin_earlier_in_summer() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    days = [datetime(2023, 11, 1, tzinfo=berlin) + timedelta(days=day) for day in range(200)]
    cutoff = 200 - 1 - 10 * 7
    values = [1000.0 + day % 7 if day <= cutoff else 1.0 for day in range(200)]
    stamps = pl.Series([day.astimezone(UTC) for day in days], dtype=INSTANT)
    rows = pl.DataFrame({"series_id": "a", "timestamp": stamps, "value": values})
    dataset = replace(DATASET, step=Step.parse("1d"), prediction_length=7)
    rolling = Rolling(prediction_length=7, stride=7, windows=10)
    whole = cutoffs.at_the_end(rows, detect_grid(rows, dataset.step, "UTC"), rolling)

    found = experiment.run(rows, whole, dataset, rivals.USUAL).backtest

    size = found.sums["absolute_actual"] / found.sums["points"]
    assert size.to_list() == pytest.approx([1.0] * len(size), rel=0.01)


def test_rows_at_or_before_the_limit_of_their_series_are_not_taken_in() -> None:
    known = observed({"a": [1.0, 2.0, None, None]})
    panel = build(known, GRID, end=GRID.index_at(MONDAY) + 3)
    late = observed({"a": [9.0, 9.0, 9.0, 9.0, 5.0], "new": [1.0] * 5})

    whole = continued(panel, late, torch.tensor([panel.start + 2]))

    values = whole.offset[:, None] + whole.scale[:, None] * whole.deviations
    assert values[0].nan_to_num(nan=-1).tolist() == pytest.approx([1, 2, -1, 9, 5], rel=1e-5)
    assert whole.series_ids == ("a",)


def test_series_that_cannot_be_judged_are_named_with_the_reason_and_stop_nobody() -> None:
    sick = {
        "began late": [None] * 290 + [1.0] * 10,
        "ended": [*waves(2)[:200], *[None] * 100],
        "only before": [*waves(3)[: HOURS - 3 * HORIZON], *[None] * 3 * HORIZON],
    }
    rows = pl.concat([ROWS, observed(sick).drop_nulls("value")]).sort("series_id", "timestamp")

    found = run(rows)

    assert found.left_out == {
        "began late": NOT_KNOWN,
        "ended": ENDED,
        "only before": ENDED,
    }
    assert found.backtest.overall()["series"].to_list() == [2, 2, 2]


def test_a_series_that_ended_long_before_is_told_from_one_that_was_never_seen() -> None:
    ended = observed({"ended": [*waves(2)[:40], *[None] * 260], "never": [torch.nan] * 300})
    rows = pl.concat([ROWS, ended.drop_nulls("value")]).sort("series_id", "timestamp")

    found = run(rows)

    assert found.left_out == {"ended": ENDED, "never": "no_data"}
    assert found.backtest.windows == 2 * 3


def test_series_that_never_moved_are_judged_but_have_no_scaled_error() -> None:
    still: dict[str, list[float | None]] = {
        "still": [7.0] * 300,
        "turned": [*[7.0] * 270, *[8.0] * 30],
    }
    rows = pl.concat([ROWS, observed(still)]).sort("series_id", "timestamp")

    found = run(rows)

    assert found.still == ("still", "turned")
    assert found.backtest.overall()["series"].to_list() == [4, 4, 4]
    assert found.scaled.overall()["series"].to_list() == [2, 2, 2]


def test_windows_and_trainings_are_told_of_on_the_way() -> None:
    steps: list[int] = []
    windows: list[tuple[int, int]] = []

    run(
        ROWS,
        watch=Listener(
            training=lambda at: steps.append(at.step),
            windows=lambda done, whole: windows.append((done, whole)),
        ),
    )

    assert steps[-1] == 2
    assert windows == [(0, 6), (2, 6), (4, 6), (6, 6)]


def test_bounds_of_the_dataset_hold_for_the_model_and_its_rivals() -> None:
    found = run(ROWS, dataset=replace(DATASET, lower_bound=55.0, upper_bound=55.0))

    assert found.backtest.overall()["width_80"].to_list() == pytest.approx([0] * 3, abs=within(55))


@pytest.mark.parametrize("name", ["naive", "seasonal_naive", "drift", "seasonal_naive_drift"])
def test_a_rival_says_in_units_of_the_data_what_its_baseline_says(name: str) -> None:
    rows = ROWS.with_columns(value=pl.col("value") + 1e10)
    panel = build(rows, GRID, season_length=24)
    spec = run(ROWS).trainings[0].spec
    windows = gather(panel, torch.tensor([0, 1]), torch.tensor([panel.end] * 2), HOURS)

    found = rivals.rival(name, panel, spec)(windows)

    expected = getattr(naive, name)(windows.context.double(), HORIZON, spec.season_length)
    assert_close(found[..., 6], expected)


def test_unknown_rivals_are_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"among naive, .*mstl, found prophet"):
        rivals.require(["drift", "prophet"])
