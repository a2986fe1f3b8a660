"""Backtests: the same sums as scores of stored forecasts, on the same points for everyone."""

import math
from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import exact
from forecaster.baselines.naive import naive, seasonal_naive
from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, build
from forecaster.data.windows import Windows, gather
from forecaster.evaluation import metrics
from forecaster.evaluation import rolling_origin as module
from forecaster.evaluation.rolling_origin import (
    Backtest,
    Predictor,
    backtest,
    points,
)
from forecaster.schemas import QUANTILE_COLUMNS, QUANTILE_LEVELS
from forecaster.times.durations import Step
from tests.data.observed import MONDAY, observed

pytestmark = pytest.mark.numeric

HORIZON, SEASON, CONTEXT = 6, 4, 12
GRID = Grid(step=Step.parse("1h"), anchor=0, timezone="UTC")
START = GRID.index_at(MONDAY)
SPREAD = torch.linspace(-2, 2, len(QUANTILE_LEVELS))


def values(length: int, size: float, seed: int) -> list[float | None]:
    noise = torch.randn(length, generator=torch.Generator().manual_seed(seed)).cumsum(0)
    return [
        size * (5 + float(noise[hour]) + math.sin(math.tau * hour / 4)) for hour in range(length)
    ]


def panel(**series: Sequence[float | None]) -> Panel:
    return build(observed(series), GRID, season_length=SEASON)


def around_the_last_value(windows: Windows) -> Tensor:
    return naive(windows.context, HORIZON)[..., None] + SPREAD


PREDICTORS = {
    "walk": around_the_last_value,
    "seasonal": points(lambda context: seasonal_naive(context, HORIZON, SEASON)),
}


def run(
    panel: Panel,
    cutoffs: Sequence[int] | Tensor,
    predictors: dict[str, Predictor] | None = None,
) -> Backtest:
    return backtest(
        predictors or PREDICTORS,
        panel,
        cutoffs,
        context_length=CONTEXT,
        prediction_length=HORIZON,
        season_length=SEASON,
    )


def matured(panel: Panel, cutoffs: Sequence[int], predictor: Predictor) -> pl.DataFrame:
    """What `accuracy.score` takes, one row per series, cutoff and step."""
    rows = []
    for cutoff in cutoffs:
        all_rows = torch.arange(len(panel))
        windows = gather(panel, all_rows, torch.full((len(panel),), cutoff), CONTEXT, HORIZON)
        assert windows.target is not None
        quantiles, yardstick = predictor(windows), seasonal_naive(windows.context, HORIZON, SEASON)
        for row, series_id in enumerate(panel.series_ids):
            offset, scale = float(panel.offset[row]), float(panel.scale[row])
            for step in range(HORIZON):
                said = dict(zip(QUANTILE_COLUMNS, quantiles[row, step].tolist(), strict=True))
                rows.append(
                    {
                        "series_id": series_id,
                        "cutoff": GRID.timestamp_at(cutoff),
                        "step": step + 1,
                        "actual": offset + scale * float(windows.target[row, step]),
                        "seasonal_naive": offset + scale * float(yardstick[row, step]),
                        "scale": scale,
                        **{name: offset + scale * value for name, value in said.items()},
                    }
                )
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def gappy() -> Panel:
    first, second = values(60, 1.0, 0), values(60, 1000.0, 1)
    first[50] = second[33] = second[34] = None
    return panel(first=first, second=second, late=[None] * 30 + values(30, 7.0, 2))


CUTOFFS = [START + 40, START + 46, START + 52]


@pytest.mark.parametrize("name", list(PREDICTORS))
@pytest.mark.parametrize("by", [[], ["lead"], ["series_id"]], ids=["all", "lead", "series"])
def test_a_backtest_sums_up_what_scoring_the_stored_forecasts_would(
    gappy: Panel, name: str, by: list[str]
) -> None:
    scored = metrics.score(matured(gappy, CUTOFFS, PREDICTORS[name]), HORIZON)

    found = summaries(run(gappy, CUTOFFS))["".join(by)].filter(pl.col("predictor") == name)

    found = found.cast(dict.fromkeys(by, pl.String)).sort(by or "predictor")
    expected = metrics.summarise(scored, by)
    for column in set(expected.columns) - {*by}:
        assert found[column].to_list() == pytest.approx(expected[column].to_list(), rel=1e-5)
    assert found.select(by).equals(expected.select(by))


def summaries(found: Backtest) -> dict[str, pl.DataFrame]:
    return {"": found.overall(), "lead": found.by_lead(), "series_id": found.by_series()}


def test_smape_is_the_one_of_m4() -> None:
    whole = panel(a=values(60, 1.0, 3), b=values(60, 50.0, 4))
    windows = gather(whole, torch.arange(2), torch.tensor([START + 50] * 2), CONTEXT, HORIZON)
    assert windows.target is not None
    actual, said = (
        (whole.offset[:, None] + whole.scale[:, None] * part).numpy()
        for part in (windows.target, naive(windows.context, HORIZON))
    )

    found = run(whole, [START + 50]).of("walk")

    assert found is not None
    assert found["smape"] == pytest.approx(exact.smape(actual, said), rel=1e-5)


@pytest.mark.parametrize("size", [0.0, 7.0])
def test_an_error_below_rounding_is_none_in_smape_though_the_value_is_zero(size: float) -> None:
    whole = panel(still=[size] * 60, waves=values(60, 1.0, 3))

    found = run(whole, [START + 50], {"near": lambda seen: naive_plus(seen, 0.3)}).by_series()

    assert found["smape"][0] == 0
    assert found["smape"][1] > 0


def naive_plus(windows: Windows, error: float) -> Tensor:
    return points(lambda context: naive(context, HORIZON) + error)(windows)


def test_zeros_among_other_values_are_met_by_what_rounds_to_them() -> None:
    whole = panel(a=[0.0 if hour % 4 else 9.0 for hour in range(60)])
    near = points(lambda context: seasonal_naive(context, HORIZON, SEASON) + 1e-7)

    found = run(whole, [START + 50], {"near": near}).of("near")

    assert found is not None
    assert found["smape"] == 0


def test_windows_of_which_nothing_was_judged_are_not_counted(gappy: Panel) -> None:
    assert run(gappy, [START + 40, START + 59]).windows == 3


def test_leads_come_nearest_first_and_predictors_as_given(gappy: Panel) -> None:
    found = run(gappy, CUTOFFS)

    assert found.overall()["predictor"].to_list() == ["walk", "seasonal"]
    names = [lead.name for lead in metrics.leads(HORIZON)]
    assert found.by_lead()["lead"].to_list() == names * 2


def test_seasonal_naive_has_no_skill_against_itself(gappy: Panel) -> None:
    skill = run(gappy, CUTOFFS).by_series().filter(pl.col("predictor") == "seasonal")["skill"]

    assert skill.to_list() == pytest.approx([0] * 3)


def test_what_one_predictor_leaves_out_is_judged_for_nobody_and_counted(gappy: Panel) -> None:
    def silent_on_the_first_series(windows: Windows) -> Tensor:
        said = around_the_last_value(windows)
        return said.masked_fill((windows.rows == 0)[:, None, None], torch.nan)

    found = run(gappy, CUTOFFS, {**PREDICTORS, "silent": silent_on_the_first_series})

    alone = run(gappy, CUTOFFS)
    assert set(found.by_series()["series_id"]) == {"late", "second"}
    assert found.missing == {"walk": 0, "seasonal": 0, "silent": 3 * HORIZON - 1}
    assert sum(alone.missing.values()) == 0
    kept = alone.by_series().filter(pl.col("series_id") != "first")
    seen = found.by_series().filter(pl.col("predictor") != "silent")
    assert seen["mase"].to_list() == pytest.approx(kept["mase"].to_list())


def test_predictors_see_neither_the_future_nor_more_than_the_context(gappy: Panel) -> None:
    def watchful(windows: Windows) -> Tensor:
        assert windows.target is None
        assert windows.context.shape[1] == CONTEXT
        return around_the_last_value(windows)

    assert run(gappy, CUTOFFS, {"watchful": watchful}).windows == 9


def test_pairs_of_a_row_and_a_cutoff_choose_the_windows(gappy: Panel) -> None:
    found = run(gappy, torch.tensor([[0, START + 40], [2, START + 46]]))

    assert found.windows == 2
    assert set(found.by_series()["series_id"]) == {"first", "second"}


def test_a_cutoff_without_anything_after_it_gives_no_rows(gappy: Panel) -> None:
    found = run(gappy, [START + 59])

    assert len(found.overall()) == len(found.by_lead()) == len(found.by_series()) == 0
    assert found.of("walk") is None


def test_the_yardstick_looks_back_a_whole_season_even_where_contexts_are_shorter() -> None:
    whole = panel(a=[float(hour % 20) for hour in range(80)])

    found = backtest(
        {"walk": around_the_last_value},
        whole,
        [START + 60],
        context_length=4,
        prediction_length=HORIZON,
        season_length=20,
    ).of("walk")

    assert found is not None
    assert found["seasonal_naive_mase"] == 0


@settings(max_examples=20)
@given(chunk=st.integers(1, 20))
def test_chunks_do_not_change_the_sums(chunk: int) -> None:
    whole = panel(a=values(60, 1.0, 3), b=values(60, 50.0, 4))
    at_once = run(whole, CUTOFFS).sums
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_WINDOWS", chunk)
        in_chunks = run(whole, CUTOFFS).sums

    for name in at_once.columns[3:]:
        assert in_chunks[name].to_list() == pytest.approx(at_once[name].to_list())


def test_a_counter_near_ten_billion_keeps_its_errors() -> None:
    small = panel(a=values(60, 1.0, 3))
    large = replace(small, offset=small.offset + 1e10)

    errors = [run(whole, CUTOFFS).sums["absolute_error"].to_list() for whole in (small, large)]

    assert errors[0] == errors[1]
