"""Judgement: all cutoffs in one pass say what each cutoff by itself does."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from forecaster.baselines.naive import seasonal_naive
from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, build, own_scale
from forecaster.data.windows import gather
from forecaster.evaluation import metrics, scoring
from forecaster.evaluation.scoring import score_forecasts
from forecaster.schemas import (
    ACCURACY,
    INSTANT,
    QUANTILE_COLUMNS,
    empty,
)
from forecaster.times.durations import Step
from tests.data.observed import HOUR, observed

HORIZON, SEASON = 6, 4
HOURLY = Grid(step=Step.parse("1h"), anchor=0)
DAILY = Grid(step=Step.parse("1d"), anchor=0, timezone="Europe/Berlin")
FIRST = datetime(2024, 3, 15, tzinfo=UTC)
"""Two weeks before clocks change."""
LEADS = metrics.leads(HORIZON)


def panel(*series: Sequence[float | None], grid: Grid = HOURLY) -> Panel:
    """Series called 0, 1, …"""
    every = timedelta(days=1) if grid is DAILY else HOUR
    named = {str(number): values for number, values in enumerate(series)}
    rows = observed(named, first=FIRST, every=every)
    return build(rows, grid, season_length=SEASON)


def spoken(series_id: str, cutoff: datetime, steps: Sequence[int]) -> pl.DataFrame:
    """What was said: other numbers for every row, quantiles in order."""
    noise = torch.Generator().manual_seed(int(cutoff.timestamp()) + steps[0])
    found = torch.randn(len(steps), len(QUANTILE_COLUMNS), generator=noise).sort(1).values
    return pl.DataFrame(
        {
            "series_id": pl.Series([series_id] * len(steps), dtype=pl.String),
            "cutoff": pl.Series([cutoff] * len(steps), dtype=INSTANT),
            "step": pl.Series(steps, dtype=pl.Int32),
        }
    ).hstack(pl.DataFrame(found.double().numpy(), schema=list(QUANTILE_COLUMNS)))


def plainly(said: pl.DataFrame, panel: Panel, memory: int) -> pl.DataFrame:
    """Judge one row after the other."""
    rows = []
    for row in said.iter_rows(named=True):
        if row["series_id"] not in panel.series_ids:
            continue
        place = panel.series_ids.index(row["series_id"])
        end = torch.tensor([panel.grid.index_at(row["cutoff"])])
        windows = gather(panel, torch.tensor([place]), end, memory, HORIZON)
        naive = seasonal_naive(windows.context, HORIZON, SEASON)
        offset, scale = float(panel.offset[place]), float(panel.scale[place])
        assert windows.target is not None
        beside = {
            "actual": offset + scale * float(windows.target[0, row["step"] - 1]),
            "seasonal_naive": offset + scale * float(naive[0, row["step"] - 1]),
            "scale": scale,
        }
        rows.append(row | beside)
    matured = said.clear().with_columns(
        pl.lit(0.0).alias(name) for name in ("actual", "seasonal_naive", "scale")
    )
    return metrics.score(pl.DataFrame(rows, schema=matured.schema), HORIZON)


values = st.one_of(st.none(), st.floats(-1e3, 1e3))
histories = st.lists(st.lists(values, min_size=1, max_size=30), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), histories=histories, memory=st.integers(SEASON, 12))
@pytest.mark.parametrize("grid", [HOURLY, DAILY], ids=["hours", "days across a change of clocks"])
def test_cutoffs_judged_at_once_are_judged_as_each_by_itself(
    grid: Grid, data: st.DataObject, histories: list[list[float | None]], memory: int
) -> None:
    seen = panel(*histories, grid=grid)
    first = grid.index_at(FIRST)
    keys = st.tuples(
        st.sampled_from(["0", "1", "3", "never observed"]),
        st.integers(first - 3, first + 33),
        st.sampled_from(LEADS),
    )
    said = [
        spoken(name, grid.timestamp_at(end), range(lead.step_from, lead.step_to + 1))
        for name, end, lead in data.draw(st.lists(keys, min_size=1, max_size=30, unique=True))
    ]
    rows = pl.concat(said)

    found = score_forecasts(
        rows, seen, season_length=SEASON, lookback=memory, prediction_length=HORIZON
    )

    expected = plainly(rows, seen, memory)
    assert_frame_equal(
        found, expected, rel_tol=1e-9, abs_tol=1e-9
    )  # tolerance: float64, no network


def test_chunks_of_any_size_are_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = panel([float(hour * hour % 7) for hour in range(60)], [1.0, None, 3.0] * 20)
    first = HOURLY.index_at(FIRST)
    cutoffs = [HOURLY.timestamp_at(first + hour) for hour in range(20, 50)]
    steps = range(1, HORIZON + 1)
    said = pl.concat(spoken(name, cutoff, steps) for cutoff in cutoffs for name in "10")
    settings = {"season_length": SEASON, "lookback": 12, "prediction_length": HORIZON}
    at_once = score_forecasts(said, seen, **settings)

    monkeypatch.setattr(scoring, "_MOST_POINTS", 7 * (12 + HORIZON))
    in_parts = score_forecasts(said, seen, **settings)

    assert at_once["points"].sum() > 200
    assert_frame_equal(in_parts, at_once, rel_tol=1e-9, abs_tol=0)  # tolerance: float64, no network


@pytest.mark.parametrize("series_id", ["never observed", "0"])
def test_nothing_that_can_be_judged_gives_no_rows(series_id: str) -> None:
    said = spoken(series_id, HOURLY.timestamp_at(HOURLY.index_at(FIRST) + 50), range(1, 7))

    for rows in (said, said.clear()):
        found = score_forecasts(
            rows, panel([1.0, 2.0]), season_length=SEASON, lookback=4, prediction_length=HORIZON
        )
        assert found.equals(empty(ACCURACY))


@pytest.mark.parametrize("more", [0, 40])
def test_the_scale_of_a_new_series_is_that_of_its_context_whatever_else_is_there(
    more: int,
) -> None:
    seen = [1e10, 1e3, *(float(hour * hour % 7) for hour in range(30 + more))]
    cutoffs = [HOURLY.timestamp_at(HOURLY.index_at(FIRST) + end) for end in (12, 20)]
    said = pl.concat(spoken("0", cutoff, range(1, HORIZON + 1)) for cutoff in cutoffs)

    found = score_forecasts(
        said, panel(seen), season_length=SEASON, lookback=12, prediction_length=HORIZON, own=10
    )

    contexts = torch.tensor([seen[3:13], seen[11:21]], dtype=torch.float64)
    scales = own_scale(contexts, SEASON).tolist()
    assert found["scale"].to_list() == pytest.approx(
        [scale for scale in scales for _ in LEADS], rel=1e-5
    )
