"""Snapshots: what every cell of a grid held as it was known at each of many ticks.

Nearly every cell is empty until some tick and holds one value from then on. Where rows came later
than their neighbours in the cell, or were corrected, it held others before: these are kept beside
it, each with the ticks at which it counted. So a window at a tick is a copy of a slice, and holds
what `panel.build` would make of the observations that were known then.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from forecaster.data.grid import Grid
from forecaster.data.point_in_time import Array, Known, PointInTime

_FOR_EVER = np.iinfo(np.int32).max
_SMALL = 2.0**-10
"""Sums are taken of so much smaller values: those near the largest float do not overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupersededValues:
    """Values that cells held for a while, from one tick to before another one, sorted by both."""

    cell: Array
    since: Array
    before: Array
    value: Array

    @classmethod
    def none(cls) -> "SupersededValues":
        places = np.empty(0, np.int32)
        return cls(cell=np.empty(0, np.int64), since=places, before=places, value=np.empty(0))


class Snapshots:
    """N series on T cells of a grid from grid index `start` on, at K ticks.

    ids      (N,) int32, ascending: the integer keys of the series
    newest   (K,) int64: the newest timestamp that was ingested, microseconds since 1970
    assumed  how many values count as known although no tick looked at them in time
    rows     how many there are in all
    """

    def __init__(self, grid: Grid, ids: Array, cells: range, ticks: int) -> None:
        self.grid, self.ids, self.start, self.length = grid, ids, cells.start, len(cells)
        shape = (len(ids), len(cells))
        self._value = np.full(shape, np.nan)
        self._known = np.full(shape, ticks, np.int32)
        self._superseded = SupersededValues.none()
        self.newest = np.full(ticks, np.iinfo(np.int64).min)
        self.assumed = self.rows = 0

    def window(self, tick: int, end: int, length: int, rows: Array | None = None) -> Array:
        """Return the `length` cells up to grid index `end` as known at a tick, (N, length).

        Of all series, or of some `rows`, ascending.
        """
        first = end - length + 1 - self.start
        part = slice(first, first + length)
        of = slice(None) if rows is None else rows
        values = np.where(self._known[of, part] <= tick, self._value[of, part], np.nan)
        held, begins = self._superseded, np.arange(len(self.ids))[of] * self.length + first
        row, place = _within(held.cell, begins, length)
        is_held = (held.since[place] <= tick) & (tick < held.before[place])
        row, place = row[is_held], place[is_held]
        values[row, held.cell[place] - begins[row]] = held.value[place]
        return values

    def values_at(self, rows: Array, indices: Array, ticks: Array) -> Array:
        """Return the values at rows, grid indices and ticks of one shape; NaN where none was."""
        columns = indices - self.start
        inside = (columns >= 0) & (columns < self.length)
        cell = rows * self.length + columns.clip(0, self.length - 1)
        is_final = self._known.ravel()[cell] <= ticks
        values = np.where(inside & is_final, self._value.ravel()[cell], np.nan)
        is_superseded = inside & ~is_final
        values[is_superseded] = self._held(cell[is_superseded], ticks[is_superseded])
        return values

    def _held(self, cell: Array, ticks: Array) -> Array:
        held, most = self._superseded, len(self.newest) + 1
        values = np.full(len(cell), np.nan)
        if len(held.cell) == 0:
            return values
        place = np.searchsorted(held.cell * most + held.since, cell * most + ticks, "right") - 1
        is_held = (place >= 0) & (held.cell[place] == cell) & (ticks < held.before[place])
        values[is_held] = held.value[place[is_held]]
        return values

    def add(self, versions: pl.DataFrame, known: Known) -> None:
        """Take in all VERSIONS of some series, with the ticks from which on they were known."""
        index = self.grid.index_of(versions["timestamp"]).to_numpy() - self.start
        kept = (index >= 0) & (index < self.length) & (known.place < len(self.newest))
        stamps = versions["timestamp"].to_physical().to_numpy()[kept]
        place = known.place[kept]
        self.record_ingested(versions, known)
        self.assumed += int(known.is_assumed[kept].sum())
        self.rows += len(stamps)
        row = np.searchsorted(self.ids, versions["series_id"].to_numpy()[kept])
        value = versions["value"].fill_null(np.nan).to_numpy()[kept]
        self._store(row * self.length + index[kept], stamps, place, value)

    def record_ingested(self, versions: pl.DataFrame, known: Known) -> None:
        """Record by which tick VERSIONS, of any cells, were ingested."""
        is_there = known.ingested < len(self.newest)
        stamps = versions["timestamp"].to_physical().to_numpy()
        np.maximum.at(self.newest, known.ingested[is_there], stamps[is_there])

    def close(self) -> "Snapshots":
        """Return the snapshots, complete once all series are added."""
        self.newest = np.maximum.accumulate(self.newest)
        return self

    def _store(self, cell: Array, stamps: Array, place: Array, value: Array) -> None:
        is_first, is_last = np.ones((2, len(cell)), bool)
        is_first[1:] = is_last[:-1] = cell[1:] != cell[:-1]
        is_shared = ~(is_first & is_last)
        alone = cell[~is_shared]
        self._value.flat[alone], self._known.flat[alone] = value[~is_shared], place[~is_shared]
        if not is_shared.any():
            return
        states = _states(cell[is_shared], stamps[is_shared], place[is_shared], value[is_shared])
        is_last = np.append(states.cell[1:] != states.cell[:-1], True)
        final = states.cell[is_last]
        self._value.flat[final] = states.value[is_last]
        self._known.flat[final] = states.since[is_last]
        self._superseded = _joined(self._superseded, states, ~is_last)


def fill(blocks: Iterable[pl.DataFrame], past: Snapshots, known_at: PointInTime) -> Snapshots:
    """Fill snapshots with blocks of VERSIONS, each of other series and with all their versions."""
    for versions in blocks:
        past.add(versions, known_at.first_known(versions))
    return past.close()


def _within(cells: Array, begins: Array, length: int) -> tuple[Array, Array]:
    """Return which of sorted `cells` lie in ranges of some length, and in which range each."""
    low = np.searchsorted(cells, begins)
    counts = np.searchsorted(cells, begins + length) - low
    before = np.cumsum(counts) - counts
    which = np.repeat(np.arange(len(begins)), counts)
    return which, np.arange(counts.sum()) + (low - before)[which]


def _joined(held: SupersededValues, states: SupersededValues, kept: Array) -> SupersededValues:
    parts = {
        name: np.concatenate((getattr(held, name), getattr(states, name)[kept]))
        for name in ("cell", "since", "before", "value")
    }
    order = np.lexsort((parts["since"], parts["cell"]))
    return SupersededValues(**{name: values[order] for name, values in parts.items()})


def _states(cell: Array, stamps: Array, place: Array, value: Array) -> SupersededValues:
    """Return what cells with several versions held, one state after the other.

    Rows are sorted by cell, timestamp and version. A state is the mean over the timestamps of a
    cell of the newest version of each. Nothing is ever subtracted: a retracted value
    has no effect, however large it was.
    """
    same = (cell[1:] == cell[:-1]) & (stamps[1:] == stamps[:-1])
    before = np.append(np.where(same, place[1:], _FOR_EVER), np.int32(_FOR_EVER))
    versions = pl.DataFrame(
        {"cell": cell, "since": place, "before": before, "sum": value * _SMALL}
    ).filter(pl.col("since") < pl.col("before"))
    states = versions.select("cell", "since").unique().sort("cell", "since")
    present = versions.filter(pl.col("sum").is_not_nan())
    is_kept = pl.col("before") == _FOR_EVER
    lasting = _beside(states, _sums(present.filter(is_kept))).select(
        pl.col("sum", "len").cum_sum().over("cell")
    )
    replaced = states.join(present.filter(~is_kept), on="cell", suffix="_of")
    held = replaced.filter(pl.col("since").is_between("since_of", pl.col("before") - 1))
    passing = _beside(states, _sums(held))
    frame = states.select(
        "cell",
        "since",
        before=pl.col("since").shift(-1).over("cell").fill_null(_FOR_EVER),
        value=(lasting["sum"] + passing["sum"]) / (lasting["len"] + passing["len"]) / _SMALL,
    )
    return SupersededValues(**{name: frame[name].to_numpy() for name in frame.columns})


def _sums(versions: pl.DataFrame) -> pl.DataFrame:
    return versions.group_by("cell", "since").agg(pl.col("sum").sum(), pl.len())


def _beside(states: pl.DataFrame, sums: pl.DataFrame) -> pl.DataFrame:
    return states.join(sums, on=["cell", "since"], how="left", maintain_order="left").fill_null(0)
