"""The Panel: what observations become on a grid."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, PanelCounts, build
from forecaster.errors import SchemaMismatch
from forecaster.schemas import OBSERVATIONS, empty
from forecaster.times.durations import Step
from tests.data.observed import HOUR, MONDAY, observed
from tests.tolerance import assert_close, within

GRID = Grid(step=Step.parse("1h"), anchor=0)
FIRST = GRID.index_at(MONDAY)
NAN, INFINITY = math.nan, math.inf

values = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=30)


def rebuilt(panel: Panel) -> list[list[float]]:
    """What the panel holds, in the units of the data."""
    whole = panel.offset[:, None] + panel.scale[:, None] * panel.deviations.double()
    rows: list[list[float]] = whole.tolist()
    return rows


def row(series_id: str, timestamp: datetime, value: float | None) -> pl.DataFrame:
    return pl.DataFrame([(series_id, timestamp, value)], schema=OBSERVATIONS, orient="row")


def test_each_series_is_a_row_and_each_step_a_column() -> None:
    panel = build(observed({"b": [1, 2, 3], "a": [4, 6, 8]}), GRID)
    assert panel.series_ids == ("a", "b")
    assert (len(panel), panel.length, panel.start, panel.end) == (2, 3, FIRST, FIRST + 2)
    assert rebuilt(panel) == [[4, 6, 8], [1, 2, 3]]
    assert panel.offset.tolist() == [6, 2]
    assert panel.scale.tolist() == [2, 1]
    assert panel.deviations.dtype == torch.float32
    assert panel.counts == PanelCounts(merged=0, off_grid=0, non_finite=0, gaps=0)


def test_missing_rows_nulls_and_values_that_are_not_finite_are_gaps() -> None:
    holes = observed({"a": [None, 1, None, NAN, INFINITY, 5, 6, None]})
    panel = build(holes.filter(pl.col("value").ne(5) | pl.col("value").is_null()), GRID)
    assert panel.deviations[0].isfinite().tolist() == [False, True, *[False] * 4, True, False]
    assert panel.counts == PanelCounts(merged=0, off_grid=0, non_finite=2, gaps=4)


def test_observations_in_one_cell_become_their_mean() -> None:
    extra = row("a", MONDAY + timedelta(minutes=20), 5)
    panel = build(pl.concat([observed({"a": [1, 2]}), extra]), GRID)
    assert rebuilt(panel)[0] == pytest.approx([3, 2])
    assert panel.counts == PanelCounts(merged=1, off_grid=1, non_finite=0, gaps=0)


def test_the_mean_of_a_cell_overflows_no_sum() -> None:
    extra = row("a", MONDAY + timedelta(minutes=20), 1.5e308)
    panel = build(pl.concat([observed({"a": [1.7e308, 1.6e308]}), extra]), GRID)
    assert panel.offset.item() == pytest.approx(1.6e308)
    assert panel.deviations.isfinite().all()


def test_the_order_of_rows_does_not_matter() -> None:
    ordered = observed({"a": [1, 2, 4, 8], "b": [3, 1, 4, 1]})
    shuffled = build(ordered.sample(fraction=1, shuffle=True, seed=3), GRID)
    assert rebuilt(shuffled) == rebuilt(build(ordered, GRID))


def test_nothing_outside_the_columns_asked_for_has_any_effect() -> None:
    inside = observed({"a": [1, 2, 4]})
    outside = [
        row("a", MONDAY - HOUR, 1e9),
        row("a", MONDAY + 3 * HOUR, -1e9),
        row("later", MONDAY + 3 * HOUR, 1),
        row("a", MONDAY + timedelta(hours=3, minutes=5), NAN),
    ]
    guarded = build(pl.concat([inside, *outside]), GRID, start=FIRST, end=FIRST + 2)
    plain = build(inside, GRID)
    assert guarded.series_ids == plain.series_ids
    assert guarded.counts == plain.counts
    assert rebuilt(guarded) == rebuilt(plain)
    assert guarded.scale.tolist() == plain.scale.tolist()


def test_columns_asked_for_exist_whether_observed_or_not() -> None:
    panel = build(observed({"a": [1, 2]}), GRID, start=FIRST - 3, end=FIRST + 5)
    assert (panel.start, panel.end, panel.length) == (FIRST - 3, FIRST + 5, 9)
    assert panel.counts.gaps == 0


def test_a_series_with_only_gaps_is_a_row_without_values() -> None:
    panel = build(observed({"a": [None, NAN, None], "b": [1, 2, 3]}), GRID)
    assert panel.deviations[0].isnan().all()
    assert panel.offset[0].item() == 0
    assert panel.scale[0].item() > 0
    assert rebuilt(panel)[1] == [1, 2, 3]


@pytest.mark.parametrize("bounds", [{}, {"start": 5}, {"end": 5}, {"start": 5, "end": 9}])
def test_no_observations_make_an_empty_panel(bounds: dict[str, int]) -> None:
    panel = build(empty(OBSERVATIONS), GRID, **bounds)  # type: ignore[arg-type]
    assert len(panel) == 0
    assert panel.length == (5 if len(bounds) == 2 else 0)


def test_an_end_before_the_start_is_an_error() -> None:
    with pytest.raises(ValueError, match="must not lie before start 5, found 2"):
        build(empty(OBSERVATIONS), GRID, start=5, end=2)


def test_columns_that_are_not_observations_are_an_error() -> None:
    with pytest.raises(SchemaMismatch, match="value"):
        build(observed({"a": [1]}).drop("value"), GRID)


def test_the_scale_is_the_seasonal_error() -> None:
    panel = build(observed({"a": [0, 10, 1, 12, 2, None]}), GRID, season_length=2)
    assert panel.scale.item() == pytest.approx((1 + 2 + 1) / 3)


@pytest.mark.parametrize(
    ("points", "scale"),
    [
        pytest.param([1, 3, 1, 3], 1.0, id="exactly seasonal: standard deviation"),
        pytest.param([1, None, None, 3], 1.0, id="no pair at the season: standard deviation"),
        pytest.param([5e8, 5e8, 5e8], 500.0, id="constant: a millionth of it"),
        pytest.param([0.0, 0.0, 0.0], 1e-6, id="zero: a millionth"),
        pytest.param([7.0], 7e-6, id="single point"),
        pytest.param([0.3, 0.1 + 0.2, 0.3, 0.3], 1e-6, id="rounding is not a scale"),
    ],
)
def test_a_series_without_a_seasonal_error_still_has_a_scale(
    points: list[float | None], scale: float
) -> None:
    panel = build(observed({"a": points}), GRID, season_length=2)
    assert panel.scale.item() == pytest.approx(scale)
    assert rebuilt(panel)[0] == pytest.approx(
        [NAN if p is None else p for p in points], nan_ok=True
    )


def test_a_series_with_a_given_scale_uses_it() -> None:
    both = observed({"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3]})
    panel = build(both, GRID, scales={"a": 8.0, "c": NAN, "unknown": 3.0})
    assert panel.scale.tolist() == [8, 1, 1]


def test_values_near_ten_billion_keep_changes_of_one() -> None:
    points = [8e9 + position % 7 for position in range(500)]
    panel = build(observed({"a": points}), GRID, season_length=24)
    assert rebuilt(panel)[0] == pytest.approx(
        points, abs=1e-3, rel=0
    )  # tolerance: a thousandth of a change


@given(values)
def test_adding_ten_billion_changes_no_deviation(points: list[float | None]) -> None:
    raised = [None if point is None else point + 1e10 for point in points]
    scales = {"a": 1.0}
    low, high = (build(observed({"a": p}), GRID, scales=scales) for p in (points, raised))
    assert_close(high.deviations, low.deviations, scale=1000)


@given(values, st.floats(1e-3, 1e3))
def test_deviations_have_no_unit(points: list[float | None], factor: float) -> None:
    small = [None if point is None else float(round(point)) for point in points]
    changed = [None if point is None else point * factor for point in small]
    one, two = (build(observed({"a": p}), GRID) for p in (small, changed))
    if one.deviations.nan_to_num().any():
        assert_close(two.deviations, one.deviations)


@given(values)
def test_what_was_observed_comes_back(points: list[float | None]) -> None:
    panel = build(observed({"a": points}), GRID)
    kept = [NAN if point is None else point for point in points]
    spread = max((abs(v - panel.offset.item()) for v in kept if not math.isnan(v)), default=0)
    assert rebuilt(panel)[0] == pytest.approx(kept, abs=within(spread) + 1e-12, nan_ok=True)


def test_huge_values_neither_crash_nor_reach_another_series() -> None:
    quiet = [1.0, 2.0, 3.0, 2.0]
    panel = build(observed({"a": [1.0, 1e300, -1e300, 2.0], "b": quiet, "c": [1e308] * 4}), GRID)
    assert rebuilt(panel)[1] == quiet
    assert panel.scale.isfinite().all()
    assert not panel.deviations.isinf().any()


def test_deviations_beyond_float32_become_gaps_and_are_counted() -> None:
    panel = build(observed({"a": [1, 1e300, 2, 3]}), GRID, scales={"a": 1.0})
    assert panel.deviations[0].isnan().tolist() == [False, True, False, False]
    assert panel.counts == PanelCounts(merged=0, off_grid=0, non_finite=1, gaps=1)


def test_days_in_a_local_zone_have_one_column_each_over_a_clock_change() -> None:
    zone = ZoneInfo("America/New_York")
    midnights = [datetime(2024, 3, day, tzinfo=zone).astimezone(UTC) for day in range(8, 13)]
    rows = pl.concat(row("a", midnight, day) for day, midnight in enumerate(midnights))
    grid = Grid(step=Step.parse("1d"), anchor=0, timezone="America/New_York")
    panel = build(rows, grid)
    assert rebuilt(panel) == [[0, 1, 2, 3, 4]]
    assert panel.counts == PanelCounts(merged=0, off_grid=0, non_finite=0, gaps=0)


def test_training_and_the_live_tail_share_columns() -> None:
    history = observed({"a": [float(point) for point in range(48)]})
    training = build(history, GRID, season_length=24)
    live = build(history, GRID, start=FIRST + 40, end=FIRST + 47, scales={"a": 24.0})
    assert rebuilt(live)[0] == pytest.approx(rebuilt(training)[0][40:])
    assert live.end == training.end
