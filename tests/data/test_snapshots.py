"""The past: a window at a tick is what `panel.build` makes of the versions that were known then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, build, from_values
from forecaster.data.point_in_time import PointInTime, point_in_time
from forecaster.data.snapshots import Snapshots, fill
from forecaster.schemas import VERSIONS
from forecaster.times.durations import Step
from tests.data.observed import HOUR, MONDAY
from tests.tolerance import assert_close

NEW_YORK = ZoneInfo("America/New_York")
HOURLY = Grid(step=Step.parse("1h"), anchor=0)
IDS = (3, 7)
NONE = timedelta(0)

Row = tuple[int, datetime, datetime, float | None]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class World:
    """A grid, where its clocks change or its months differ, and how rows lie on it."""

    grid: Grid
    first: datetime
    apart: timedelta
    """Between two instants at which something may be observed."""
    cells: int = 8


WORLDS = {
    "hours": World(HOURLY, MONDAY, HOUR),
    "quarters of an hour in hours": World(HOURLY, MONDAY, HOUR / 4),
    "minutes past the hour": World(HOURLY, MONDAY + timedelta(minutes=7), HOUR),
    "days of New York in spring": World(
        Grid(step=Step.parse("1d"), anchor=0, timezone="America/New_York"),
        datetime(2024, 3, 7, tzinfo=NEW_YORK).astimezone(UTC),
        6 * HOUR,
    ),
    "days of New York in autumn": World(
        Grid(step=Step.parse("1d"), anchor=0, timezone="America/New_York"),
        datetime(2024, 10, 31, tzinfo=NEW_YORK).astimezone(UTC),
        24 * HOUR,
    ),
    "months": World(
        Grid(step=Step.parse("1mo"), anchor=0, timezone="America/New_York"),
        datetime(2024, 1, 1, tzinfo=NEW_YORK).astimezone(UTC),
        timedelta(days=9),
    ),
}


@dataclass(frozen=True)
class History:
    """Versions, and the ticks at which somebody looks at them."""

    world: World
    versions: pl.DataFrame
    known: PointInTime

    @property
    def cells(self) -> range:
        first = self.world.grid.index_at(self.world.first)
        return range(first, first + self.world.cells)

    def past(self) -> Snapshots:
        blocks = (self.versions.filter(pl.col("series_id") == number) for number in IDS)
        past = Snapshots(self.world.grid, np.array(IDS, np.int32), self.cells, len(self.known))
        return fill(blocks, past, self.known)

    def seen(self, place: int) -> pl.DataFrame:
        """OBSERVATIONS of what was known at a tick."""
        was_known = pl.Series(self.known.first_known(self.versions).place <= place)
        newest = self.versions.filter(was_known).unique(
            ["series_id", "timestamp"], keep="last", maintain_order=True
        )
        return newest.drop_nulls("value").select(
            pl.col("series_id").cast(pl.String), "timestamp", "value"
        )


GLITCHES = [-0.0, 1e10, 1e10 + 1e-5, 9.97e36, -1e300, 1.7e308]
VALUES = st.sampled_from(GLITCHES) | st.floats(-1e3, 1e3)
WAITS = st.sampled_from([0.1, 0.1, 0.4, 1.5, 3, 7, 40])


@st.composite
def histories(draw: st.DrawFn, world: World, values: st.SearchStrategy[float]) -> History:
    rows: list[Row] = []
    slots = int(world.cells * _length(world.grid) / world.apart)
    for number in IDS:
        for slot in draw(st.lists(st.integers(-2, slots + 2), max_size=14, unique=True)):
            stamp = world.first + slot * world.apart
            recorded, value = stamp, draw(values | st.just(None)) if slot % 5 else draw(values)
            for _ in range(draw(st.integers(1, 3))):
                recorded += draw(WAITS) * world.apart
                rows.append((number, stamp, recorded, value))
                value = draw(st.none() | values)
    versions = pl.DataFrame(rows, schema=VERSIONS, orient="row")
    return History(
        world=world,
        versions=versions.sort("series_id", "timestamp", "recorded_at"),
        known=draw(knowledges(world)),
    )


@st.composite
def knowledges(draw: st.DrawFn, world: World) -> PointInTime:
    every = draw(st.sampled_from([0.5, 1, 2])) * _length(world.grid)
    ticks = [world.first + number * every for number in range(draw(st.integers(1, 10)))]
    ran = draw(st.sets(st.sampled_from(ticks)))
    return point_in_time(
        ticks,
        {tick: tick + draw(st.sampled_from([0.01, 0.3])) * world.apart for tick in ran},
        delay=draw(st.sampled_from([NONE, world.apart / 3])),
        late_data=draw(st.sampled_from([NONE, world.apart, 3 * world.apart])),
    )


def _length(grid: Grid) -> timedelta:
    return grid.timestamp_at(1) - grid.timestamp_at(0)


def plainly(history: History, place: int) -> tuple[Array, Array]:
    """The exact mean of each cell at a tick, and that of magnitudes: what rounding goes by."""
    seen, cells = history.seen(place), history.cells
    means, sizes = np.full((2, len(IDS), len(cells)), np.nan)
    index = history.world.grid.index_of(seen["timestamp"])
    for (name, of_cell), part in seen.with_columns(index=index).group_by("series_id", "index"):
        if of_cell in cells:
            at = IDS.index(int(str(name))), int(str(of_cell)) - cells.start
            values = part["value"].to_list()
            means[at] = math.fsum(value / len(values) for value in values)
            sizes[at] = math.fsum(abs(value) / len(values) for value in values)
    return means, sizes


def assert_alike(found: Array, means: Array, sizes: Array) -> None:
    assert (np.isnan(found) == np.isnan(means)).all()
    error = np.abs(found - means) > 1e-14 * sizes + 1e-300  # tolerance: float64, no network
    assert not error.any(), (found[error], means[error])


def everywhere(past: Snapshots, cells: range, place: int) -> Array:
    rows, columns = np.indices((len(IDS), len(cells)))
    return past.values_at(rows, columns + cells.start, np.full(rows.shape, place))


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
@settings(max_examples=12)
@given(data=st.data())
def test_every_cell_holds_the_mean_of_what_was_known(data: st.DataObject, world: World) -> None:
    history = data.draw(histories(world, VALUES))
    past, cells = history.past(), history.cells
    for place in range(len(history.known)):
        means, sizes = plainly(history, place)
        window = past.window(place, cells[-1], len(cells))
        assert_alike(window, means, sizes)
        some = past.window(place, cells[-3], len(cells) - 3, np.array([1]))
        assert np.array_equal(some, window[1:, 1:-2], equal_nan=True)
        assert np.array_equal(everywhere(past, cells, place), window, equal_nan=True)


def rows_of(window: Array, panel: Panel) -> torch.Tensor:
    places = [IDS.index(int(name)) for name in panel.series_ids]
    return torch.from_numpy(window[places])


@pytest.mark.parametrize("name", ["hours", "quarters of an hour in hours", "months"])
@settings(max_examples=6)
@given(data=st.data())
def test_a_window_is_the_panel_of_the_versions_that_were_known(
    data: st.DataObject, name: str
) -> None:
    world, near = WORLDS[name], st.integers(0, 40).map(lambda change: 1e10 + change / 8)
    history = data.draw(histories(world, near))
    past, grid, length = history.past(), world.grid, world.cells
    for place in range(len(history.known)):
        ahead = data.draw(st.integers(0, world.cells - 3))
        start, end = history.cells[0], history.cells[-1] - ahead
        expected = build(history.seen(place), grid, season_length=2, start=start, end=end)
        values = rows_of(past.window(place, end, length - ahead), expected)
        found = from_values(values, grid, expected.series_ids, start, season_length=2, scales={})
        for name in ("deviations", "offset", "scale"):
            assert_close(getattr(found, name), getattr(expected, name))


@settings(max_examples=10)
@given(data=st.data())
def test_cells_with_one_row_each_hold_its_very_bits(data: st.DataObject) -> None:
    history = data.draw(histories(WORLDS["hours"], VALUES))
    past, cells = history.past(), history.cells
    for place in range(len(history.known)):
        means, _ = plainly(history, place)
        assert np.array_equal(past.window(place, cells[-1], len(cells)), means, equal_nan=True)


def told(*rows: tuple[float, float, float | None]) -> History:
    """One series told hour by hour: when, recorded when, what; ticks of twelve hours."""
    versions = [(3, MONDAY + at * HOUR, MONDAY + then * HOUR, what) for at, then, what in rows]
    frame = pl.DataFrame(versions, schema=VERSIONS, orient="row")
    ticks = [MONDAY + hour * HOUR for hour in range(12)]
    return History(
        world=WORLDS["hours"],
        versions=frame.sort("series_id", "timestamp", "recorded_at"),
        known=point_in_time(ticks, {}, delay=NONE, late_data=100 * HOUR),
    )


def cell(history: History, hour: int) -> list[float]:
    """What one cell held at each tick."""
    past, index = history.past(), history.cells.start + hour
    ticks = np.arange(len(history.known))
    found: list[float] = past.values_at(np.zeros_like(ticks), index + 0 * ticks, ticks).tolist()
    return found


def same(found: Sequence[float], expected: Sequence[float]) -> bool:
    return np.array_equal(found, expected, equal_nan=True)


NAN = math.nan


def test_a_cell_holds_one_value_after_the_other() -> None:
    history = told((2, 3, 5.0), (2, 5, 6.0), (2, 7, None), (2, 9, 8.0))
    assert same(cell(history, 2), [NAN] * 3 + [5] * 2 + [6] * 2 + [NAN] * 2 + [8] * 3)


def test_rows_that_come_one_by_one_are_meaned_one_by_one() -> None:
    history = told((2, 3, 1.0), (2.25, 4, 2.0), (2.5, 5, 6.0), (2.75, 5, 7.0))
    assert same(cell(history, 2), [NAN] * 3 + [1] + [1.5] + [4] * 7)


@pytest.mark.parametrize("glitch", [9.97e36, 1e300, 1e17, -1.7e308])
def test_a_glitch_that_was_taken_back_leaves_no_trace(glitch: float) -> None:
    history = told((2, 3, glitch), (2.25, 3, 5.0), (2.5, 4, 7.0), (2, 6, None), (2.25, 8, 9.0))
    found = cell(history, 2)
    assert same(found[6:], [6] * 2 + [8] * 4)
    assert found[5] == pytest.approx(glitch / 3)


def test_the_newest_timestamp_is_that_which_was_known() -> None:
    history = told((1, 4, 1.0), (3, 3.5, 1.0), (2, 3, 1.0), (5, 11, 1.0))
    newest = [(MONDAY + hour * HOUR).timestamp() * 1e6 for hour in (2, 3, 3, 3, 3, 3, 3, 3, 5)]
    found = history.past().newest
    assert found[3:].tolist() == newest
    assert (found[:3] < 0).all()


def test_what_was_asked_outside_is_not_there() -> None:
    past, cells = told((0, 0, 1.0), (7, 7, 2.0)).past(), WORLDS["hours"].cells
    outside = np.array([-1, cells, cells + 100]) + HOURLY.index_at(MONDAY)
    assert np.isnan(past.values_at(np.zeros(3, int), outside, np.full(3, 11))).all()


def test_how_much_is_assumed_is_counted() -> None:
    history = told((1, 1.5, 1.0), (2, 2.5, 1.0), (2, 3.5, 2.0), (3, 500, 1.0))
    known = point_in_time(
        [MONDAY + hour * HOUR for hour in range(12)], {}, delay=NONE, late_data=2 * HOUR
    )
    past = History(history.world, history.versions, known).past()
    assert (past.rows, past.assumed) == (4, 1)
