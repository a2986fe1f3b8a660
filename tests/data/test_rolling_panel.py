"""The resident panel: what changed rows do to cells that are kept in memory."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import torch

from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, PanelCounts
from forecaster.data.rolling_panel import RollingPanel
from forecaster.schemas import INSTANT
from forecaster.times.durations import Step
from tests.data.observed import HOUR, MONDAY

GRID = Grid(step=Step.parse("1h"), anchor=0)
LENGTH = 4
NAN = float("nan")
CELLS = {"series_id": pl.Int32(), "timestamp": INSTANT, "value": pl.Float64()}

Given = Sequence[tuple[int, float, float | None]]
"""Series, hours after MONDAY, value."""


def cells(rows: Given) -> pl.DataFrame:
    found = [(number, MONDAY + timedelta(hours=hour), value) for number, hour, value in rows]
    return pl.DataFrame(found, schema=CELLS, orient="row").sort("series_id", "timestamp")


def resident(*ids: int) -> RollingPanel:
    """A panel of the four hours that end three hours after MONDAY."""
    return RollingPanel(GRID, LENGTH, MONDAY + 3 * HOUR, np.array(ids))


def shown(panel: RollingPanel, names: Mapping[int, str] | None = None) -> Panel:
    [found] = panel.panels(
        names or {number: f"s{number}" for number in range(100)}, season_length=1, scales={}
    )
    return found


def held(panel: RollingPanel) -> dict[str, list[float | None]]:
    """Values by series, None where nothing is."""
    found = shown(panel)
    values = found.offset[:, None] + found.scale[:, None] * found.deviations.double()
    return {
        name: [None if np.isnan(value) else round(value, 6) for value in row]
        for name, row in zip(found.series_ids, values.tolist(), strict=True)
    }


def test_a_value_in_an_empty_cell_needs_no_second_look() -> None:
    panel = resident(1, 2)

    contested = panel.apply(cells([(1, 0, 5.0), (2, 3, 7.0)]))

    assert contested == []
    assert held(panel) == {"s1": [5, None, None, None], "s2": [None, None, None, 7]}


def test_a_second_value_for_a_cell_is_to_be_read_with_the_first() -> None:
    panel = resident(1, 2)
    panel.apply(cells([(1, 1, 5.0), (2, 1, 9.0)]))

    [contested] = panel.apply(cells([(1, 1.5, 7.0), (2, 2, 1.0)]))
    panel.replace(contested, cells([(1, 1, 5.0), (1, 1.5, 7.0)]))

    hour = GRID.index_at(MONDAY) + 1
    assert (contested.ids.tolist(), contested.first, contested.last) == ([1], hour, hour)
    assert held(panel)["s1"] == [None, 6, None, None]
    assert held(panel)["s2"] == [None, 9, 1, None]
    assert shown(panel).counts == PanelCounts(merged=1, off_grid=1, gaps=0)


def test_an_old_row_does_not_stretch_what_is_read_again_of_other_series() -> None:
    panel = resident(1, 2)
    panel.apply(cells([(1, 0, 1.0), (1, 3, 1.0), (2, 3, 1.0)]))

    contested = panel.apply(cells([(1, 0, 2.0), (1, 3, 2.0), (2, 3, 2.0)]))

    assert [(cell.ids.tolist(), cell.first == cell.last) for cell in contested] == [
        ([1], True),
        ([1, 2], True),
    ]


def test_a_value_that_was_taken_back_leaves_a_gap() -> None:
    panel = resident(1)
    panel.apply(cells([(1, 0, 1.0), (1, 1, 2.0), (1, 2, 3.0)]))

    [contested] = panel.apply(cells([(1, 1, None)]))
    panel.replace(contested, cells([]))

    assert held(panel) == {"s1": [1, None, 3, None]}
    assert shown(panel).counts.gaps == 1


def test_a_step_on_the_oldest_column_is_let_go() -> None:
    panel = resident(1)
    panel.apply(cells([(1, hour, float(hour)) for hour in range(4)]))

    panel.move(MONDAY + 5 * HOUR)
    panel.apply(cells([(1, 5, 50.0)]))

    assert held(panel) == {"s1": [2, 3, None, 50]}
    assert shown(panel).end == GRID.index_at(MONDAY) + 5


def test_a_leap_over_the_whole_context_leaves_nothing_behind() -> None:
    panel = resident(1)
    panel.apply(cells([(1, hour, float(hour)) for hour in range(4)]))

    panel.move(MONDAY + 1000 * HOUR)
    panel.apply(cells([(1, 1000, 1.0)]))

    assert held(panel) == {"s1": [None, None, None, 1]}


def test_rows_older_than_the_context_are_not_taken_in() -> None:
    panel = resident(1)

    assert panel.apply(cells([(1, -1, 3.0), (1, 0, 4.0)])) == []
    assert held(panel) == {"s1": [4, None, None, None]}


def test_new_series_join_and_keep_the_order_of_their_names() -> None:
    panel = resident(2)
    panel.apply(cells([(2, 0, 2.0)]))

    panel.apply(cells([(1, 0, 1.0), (3, 0, 3.0)]))
    found = shown(panel, {1: "c", 2: "a", 3: "b"})

    assert found.series_ids == ("a", "b", "c")
    assert found.offset.tolist() == [2, 3, 1]


def test_a_series_without_a_value_is_in_no_panel() -> None:
    panel = resident(1, 2)
    panel.apply(cells([(2, 0, 2.0)]))

    assert shown(panel).series_ids == ("s2",)


def test_a_counter_near_1e10_keeps_changes_of_one() -> None:
    panel = resident(1)
    panel.apply(cells([(1, hour, 1e10 + hour) for hour in range(4)]))

    found = shown(panel)

    values = found.offset[:, None] + found.scale[:, None] * found.deviations.double()
    assert torch.equal(values[0], 1e10 + torch.arange(4, dtype=torch.float64))
