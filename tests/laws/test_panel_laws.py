"""The law of the Panel: the same, bit for bit, as cells filled one observation after the other."""

import math
import statistics
from collections import defaultdict
from datetime import timedelta
from random import Random

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.grid import Grid
from forecaster.data.panel import PanelCounts, build
from forecaster.schemas import OBSERVATIONS
from forecaster.times.durations import Step
from tests.data.observed import MONDAY

GRID = Grid(step=Step.parse("1h"), anchor=0)
FIRST = GRID.index_at(MONDAY)
MINUTES = st.integers(0, 20).map(lambda half_hours: 30 * half_hours)
VALUES = st.one_of(st.none(), st.sampled_from([-0.0, math.nan, math.inf]), st.floats(-1e6, 1e6))
Row = tuple[str, int, float | None]
ROWS = st.lists(st.tuples(st.sampled_from(["b", "a", "ä'\n"]), MINUTES, VALUES), max_size=40)


def plain(rows: list[Row]) -> tuple[dict[str, dict[int, float]], PanelCounts]:
    """The mean of each cell of each series, and what had to be decided."""
    cells: dict[str, dict[int, list[float]]] = {series_id: {} for series_id, _, _ in rows}
    counts: dict[str, int] = defaultdict(int)
    for series_id, minute, value in rows:
        counts["off_grid"] += value is not None and minute % 60 > 0
        counts["non_finite"] += value is not None and not math.isfinite(value)
        if value is not None and math.isfinite(value):
            cells[series_id].setdefault(minute // 60, []).append(value)
    means = {
        series_id: {cell: sum(found) / len(found) for cell, found in of_series.items()}
        for series_id, of_series in cells.items()
    }
    for series_id, of_series in cells.items():
        counts["merged"] += sum(len(found) - 1 for found in of_series.values())
        counts["gaps"] += max(of_series, default=-1) - min(of_series, default=0) + 1
        counts["gaps"] -= len(means[series_id])
    return means, PanelCounts(
        merged=counts["merged"],
        off_grid=counts["off_grid"],
        non_finite=counts["non_finite"],
        gaps=counts["gaps"],
    )


@given(ROWS, st.randoms(use_true_random=False), st.booleans())
def test_a_panel_is_what_cells_filled_one_by_one_are(
    rows: list[Row], random: Random, in_order: bool
) -> None:
    rows = sorted(rows, key=lambda row: row[:2]) if in_order else random.sample(rows, len(rows))
    frame = pl.DataFrame(
        [(key, MONDAY + timedelta(minutes=minute), value) for key, minute, value in rows],
        schema=OBSERVATIONS,
        orient="row",
    )

    panel = build(frame, GRID, start=FIRST, end=FIRST + 10, scales=dict.fromkeys(frame[:, 0], 3.0))

    cells, counts = plain(rows)
    assert panel.series_ids == tuple(sorted(cells, key=str.encode))
    assert panel.counts == counts
    expected = np.full((len(cells), 11), np.nan, dtype=np.float32)
    for place, series_id in enumerate(panel.series_ids):
        offset = statistics.median_low(cells[series_id].values()) if cells[series_id] else 0.0
        assert panel.offset[place].item() == offset
        for cell, mean in cells[series_id].items():
            expected[place, cell] = np.float32((mean - offset) / 3.0)
    np.testing.assert_array_equal(panel.deviations.numpy(), expected)
    signs = np.signbit(expected) & (expected == 0)
    np.testing.assert_array_equal(np.signbit(panel.deviations.numpy()) & (expected == 0), signs)
