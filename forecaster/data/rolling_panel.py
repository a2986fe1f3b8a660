"""The rolling panel: the newest steps of a dataset, kept between ticks and updated in place.

Columns go round: grid index i lies in column i modulo their number, so a new step overwrites the
oldest one and nothing is ever moved. Its content equals that of `panel.build` from the same
observations, to the last bit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np
import polars as pl
import torch

from forecaster.data.grid import Grid
from forecaster.data.open_cells import Array
from forecaster.data.panel import Cells, Panel, PanelCounts, from_values, mean_by_cell

_SERIES_AT_ONCE = 8192
_LARGEST_COUNT = np.iinfo(np.uint16).max
"""Of a cell with more observations no more are counted: the count is only reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleCells:
    """Cells of series `ids` (ascending), grid index `first` to `last`: to be read as a whole."""

    ids: Array
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Rows beside the grid index of their cell, and whether they lie between two grid instants."""

    ids: Array
    index: Array
    value: Array
    is_off_grid: Array

    def __getitem__(self, chosen: Array) -> "_Rows":
        return _Rows(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


class RollingPanel:
    """N series, by ascending integer keys, on the `length` steps that end at `until`.

    It holds every observation up to `until` and none after it, the newest cell included. Rows
    given to it are CELLS of the store: series_id (Int32), timestamp and finite value, sorted; a
    null retracts a value. `newest` is the timestamp of the newest value that was given.
    """

    def __init__(self, grid: Grid, length: int, until: datetime, ids: Array) -> None:
        self.grid, self.length = grid, length
        self.until, self.end = until, grid.index_at(until)
        self.newest: datetime | None = None
        self.ids = ids.astype(np.int32)
        shape = (len(ids), length)
        self._values = np.full(shape, np.nan)
        self._counts, self._off_grid = (np.zeros(shape, np.uint16) for _ in range(2))

    @property
    def start(self) -> int:
        """The grid index of the oldest step."""
        return self.end - self.length + 1

    def move(self, until: datetime) -> None:
        """Advance to the steps up to `until`, which must not lie before the present one."""
        end = self.grid.index_at(until)
        fresh = np.arange(max(self.end, end - self.length) + 1, end + 1) % self.length
        self._values[:, fresh] = np.nan
        self._counts[:, fresh] = self._off_grid[:, fresh] = 0
        self.until, self.end = until, end

    def apply(self, rows: pl.DataFrame) -> list[StaleCells]:
        """Take in changed rows up to `until`; return what has to be read again, for `replace`.

        A value in an empty cell is that cell's mean; anything else may share its cell.
        """
        located = self._locate(rows)
        located = located[located.index >= self.start]
        self._admit(located.ids)
        cell = np.searchsorted(self.ids, located.ids) * self.length + located.index % self.length
        _, place, count = np.unique(cell, return_inverse=True, return_counts=True)
        is_alone = (count[place] == 1) & (self._counts.flat[cell] == 0) & ~np.isnan(located.value)
        self._values.flat[cell[is_alone]] = located.value[is_alone] + 0.0
        self._counts.flat[cell[is_alone]] = 1
        self._off_grid.flat[cell[is_alone]] = located.is_off_grid[is_alone]
        left = located[~is_alone]
        return [
            StaleCells(ids=np.unique(left.ids[left.index == index]), first=index, last=index)
            for index in np.unique(left.index).tolist()
        ]

    def replace(self, stale: StaleCells, rows: pl.DataFrame) -> None:
        """Replace the content of those cells by `rows`."""
        ids = stale.ids
        self._admit(ids)
        located = self._locate(rows)
        shape = (len(ids), stale.last - stale.first + 1)
        cell = np.searchsorted(ids, located.ids) * shape[1] + located.index - stale.first
        columns = np.arange(stale.first, stale.last + 1) % self.length
        place = np.ix_(np.searchsorted(self.ids, ids), columns)
        means, _ = mean_by_cell(Cells(cell=cell, value=located.value, shape=shape))
        self._values[place] = means
        self._counts[place] = _count(cell, shape)
        self._off_grid[place] = _count(cell[located.is_off_grid], shape)

    def panels(
        self, names: Mapping[int, str], *, season_length: int, scales: Mapping[str, float]
    ) -> Iterator[Panel]:
        """Return panels of some thousand series each, in the order of their `names`.

        As in `build`, a series without an observation in these steps is in none of them.
        """
        keys = np.array([names[number] for number in self.ids.tolist()], dtype=object)
        order = np.argsort(keys, kind="stable")
        for first in range(0, max(1, len(order)), _SERIES_AT_ONCE):
            rows = order[first : first + _SERIES_AT_ONCE]
            rows = rows[self._counts[rows].any(1)]
            taken = self._counts[rows]
            shared = taken[taken > 1]
            yield from_values(
                torch.from_numpy(self._unrolled(rows)),
                self.grid,
                tuple(keys[rows]),
                self.start,
                season_length=season_length,
                scales=scales,
            ).with_counts(
                PanelCounts(
                    merged=int(shared.sum()) - len(shared),
                    off_grid=int(self._off_grid[rows].sum()),
                )
            )

    def _unrolled(self, rows: Array) -> Array:
        turn = self.start % self.length
        values = self._values[rows]
        return np.concatenate((values[:, turn:], values[:, :turn]), 1)

    def _locate(self, rows: pl.DataFrame) -> _Rows:
        stamps = rows["timestamp"]
        last = stamps.filter(rows["value"].is_not_null()).max()
        if isinstance(last, datetime) and (self.newest is None or self.newest < last):
            self.newest = last
        index = self.grid.index_of(stamps)
        return _Rows(
            ids=rows["series_id"].to_numpy(),
            index=index.to_numpy(),
            value=rows["value"].fill_null(np.nan).to_numpy(),
            is_off_grid=(self.grid.timestamps_of(index) != stamps).to_numpy(),
        )

    def _admit(self, ids: Array) -> None:
        """Add rows for series that are new."""
        new_ids = np.setdiff1d(ids, self.ids)
        if not len(new_ids):
            return
        all_ids = np.union1d(self.ids, new_ids)
        extended = RollingPanel(self.grid, self.length, self.until, all_ids)
        rows = np.searchsorted(all_ids, self.ids)
        for name in ("_values", "_counts", "_off_grid"):
            getattr(extended, name)[rows] = getattr(self, name)
            setattr(self, name, getattr(extended, name))
        self.ids = extended.ids


def _count(cell: Array, shape: tuple[int, int]) -> Array:
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    return counts.clip(max=_LARGEST_COUNT).astype(np.uint16)
