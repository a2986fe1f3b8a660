"""Windows: one code path for training, live forecasts and backfills."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, build
from forecaster.data.windows import gather
from forecaster.times.durations import Step
from tests.data.observed import MONDAY, observed
from tests.tolerance import assert_close

GRID = Grid(step=Step.parse("1h"), anchor=0)
FIRST = GRID.index_at(MONDAY)

values = st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), min_size=4, max_size=30)


def panel(*series: list[float | None]) -> Panel:
    named = {f"s{number}": list(points) for number, points in enumerate(series)}
    return build(observed(named), GRID, scales=dict.fromkeys(named, 1.0))


def window(panel: Panel, cutoff: int, context_length: int = 5) -> torch.Tensor:
    """The context of the first series in its own units, gaps as NaN."""
    rows, cutoffs = torch.tensor([0]), torch.tensor([cutoff])
    context = gather(panel, rows, cutoffs, context_length).context[0].double()
    return panel.offset[0] + panel.scale[0] * context


def test_context_ends_at_the_cutoff_and_target_follows() -> None:
    rows, cutoffs = torch.tensor([1, 0]), torch.tensor([FIRST + 2, FIRST + 3])
    windows = gather(panel([0, 1, 2, 3, 4], [10, 11, 12, 13, 14]), rows, cutoffs, 3, 1)
    assert windows.context.tolist() == [[-2, -1, 0], [-1, 0, 1]]
    assert windows.target is not None
    assert windows.target.tolist() == [[1], [2]]
    assert windows.scale.tolist() == [1, 1]
    assert windows.rows.tolist() == [1, 0]
    assert windows.cutoffs.tolist() == [FIRST + 2, FIRST + 3]


def test_there_is_no_target_unless_asked_for() -> None:
    windows = gather(panel([0, 1, 2, 3]), torch.tensor([0]), torch.tensor([FIRST]), 2)
    assert windows.target is None


def test_steps_outside_the_panel_are_missing_on_both_sides() -> None:
    series = panel([0, 1, 2])
    before = gather(series, torch.tensor([0]), torch.tensor([FIRST]), 3, 4)
    after = gather(series, torch.tensor([0]), torch.tensor([FIRST + 4]), 3, 2)
    assert before.target is not None
    assert after.target is not None
    assert torch.cat([before.context, before.target], dim=1).isnan().tolist() == [
        [True, True, False, False, False, True, True]
    ]
    assert torch.cat([after.context, after.target], dim=1).isnan().tolist() == [
        [False, True, True, True, True]
    ]


def test_a_window_far_outside_the_panel_is_all_missing() -> None:
    windows = gather(panel([0, 1]), torch.tensor([0]), torch.tensor([FIRST + 10**9]), 3, 2)
    assert windows.context.isnan().all()


def test_a_panel_without_columns_gives_missing_windows() -> None:
    empty = build(observed({"s": [1]}), GRID, start=FIRST, end=FIRST - 1)
    assert gather(empty, torch.zeros(0).long(), torch.zeros(0).long(), 3, 2).context.shape == (0, 3)


def test_an_unknown_row_is_an_error() -> None:
    with pytest.raises(IndexError):
        gather(panel([0, 1]), torch.tensor([1]), torch.tensor([FIRST]), 2)


LEAST = 1e-30
"""What float32 deviations still tell apart where the scale is the least, a millionth."""


def size(points: list[float | None]) -> float:
    return max([LEAST, *(abs(point) for point in points if point is not None)])


@given(values, st.integers(0, 29))
@example([1.8e-71, None, None, 0.0], 0)
def test_windows_from_a_growing_stream_equal_windows_from_the_whole(
    points: list[float | None], at: int
) -> None:
    cutoff = FIRST + min(at, len(points) - 1)
    grown = panel(points[: cutoff - FIRST + 1])
    whole = panel(points)
    assert_close(window(grown, cutoff), window(whole, cutoff), size(points))


@given(values, values, st.integers(0, 3))
def test_nothing_after_the_cutoff_reaches_the_context(
    points: list[float | None], other: list[float | None], at: int
) -> None:
    past = points[: at + 1]
    rows, cutoffs = torch.tensor([0]), torch.tensor([FIRST + at])
    one, two = (
        build(observed({"s": series}), GRID, start=FIRST, end=FIRST + at)
        for series in (past + other, past)
    )
    assert torch.equal(one.offset, two.offset)
    assert torch.equal(one.scale, two.scale)
    torch.testing.assert_close(
        gather(one, rows, cutoffs, 5).context,
        gather(two, rows, cutoffs, 5).context,
        rtol=0,
        atol=0,
        equal_nan=True,
    )


@given(values)
def test_training_live_and_backfill_see_the_same_context(points: list[float | None]) -> None:
    observations = observed({"s": points})
    last = FIRST + len(points) - 1
    scales = {"s": 2.0}
    training = build(observations, GRID, scales=scales)
    live = build(observations, GRID, start=last - 4, end=last, scales=scales)
    backfill = build(observations, GRID, start=FIRST - 50, end=last, scales=scales)
    for other in (live, backfill):
        assert_close(window(other, last), window(training, last), size(points))


def test_windows_are_cut_on_the_device_of_the_panel() -> None:
    series = panel([0, 1, 2])
    moved = replace(series, deviations=series.deviations.to("meta"))
    windows = gather(moved, torch.tensor([0]), torch.tensor([FIRST]), 2, 1)
    assert windows.target is not None
    assert {windows.context.device.type, windows.target.device.type} == {"meta"}


@given(
    series=st.lists(st.lists(st.none() | st.floats(-9, 9), min_size=6, max_size=6), min_size=1),
    cutoff=st.integers(-2, 8),
    lengths=st.tuples(st.integers(1, 5), st.integers(0, 3)),
    data=st.data(),
)
def test_windows_of_one_cutoff_are_the_same_beside_one_of_another(
    series: list[list[float | None]], cutoff: int, lengths: tuple[int, int], data: st.DataObject
) -> None:
    whole = panel(*series, [0.0] * 6)
    rows = torch.tensor(data.draw(st.lists(st.integers(0, len(series)), min_size=1)))
    cutoffs = torch.full((len(rows),), FIRST + cutoff)
    other = torch.tensor([0]), torch.tensor([FIRST + cutoff + 1])

    alone = gather(whole, rows, cutoffs, *lengths)
    beside = gather(whole, torch.cat((rows, other[0])), torch.cat((cutoffs, other[1])), *lengths)

    assert torch.equal(alone.context.nan_to_num(99), beside.context[:-1].nan_to_num(99))
    assert (alone.target is None) == (beside.target is None)
    if alone.target is not None and beside.target is not None:
        assert torch.equal(alone.target.nan_to_num(99), beside.target[:-1].nan_to_num(99))
