"""The panel: observations of many series as one array over the steps of a grid.

A series is a float64 offset, a float64 scale and float32 deviations, so that a counter near 8e9
keeps changes of one: value = offset + scale · deviation. Everything decided here is counted:

- several observations in one cell become their mean; one off the grid is floored to its cell;
- a value that is not finite becomes a gap, and so does a deviation that overflows float32
  (more than 3.4e38 scales from the offset);
- the scale of a series is the first usable one of: the one given;
  mean |y_t - y_{t - season_length}|, unless below a millionth of the standard deviation; the
  standard deviation, unless float64 rounding; a millionth of the larger of |offset| and 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecaster.data.grid import Grid
from forecaster.data.open_steps import gaps
from forecaster.schemas import OBSERVATIONS, conform

_ROUNDING = 1e-14
"""Differences below this share of the offset are float64 rounding, not signal."""

_SMALLEST_SCALE = 1e-6
"""The least scale, as a share of the standard deviation, or of |offset| or 1 if constant."""


@dataclass(frozen=True, slots=True)
class PanelCounts:
    """What had to be decided about observations inside the panel.

    merged      observations that share their cell with an earlier one (the cell is their mean)
    off_grid    observations not on a grid instant (floored to the one before)
    non_finite  values that became gaps: NaN, infinite, or a deviation too large for float32
    gaps        unobserved open cells between the first and the last observation of their series
    """

    merged: int = 0
    off_grid: int = 0
    non_finite: int = 0
    gaps: int = 0

    def __add__(self, other: "PanelCounts") -> "PanelCounts":
        """Return the counts of two panels of other series."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return PanelCounts(*map(sum, pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """N series on T steps of one grid: value = offset + scale · deviation.

    series_ids  N, sorted
    start       grid index of column 0
    deviations  (N, T) float32, NaN where unobserved
    offset      (N,) float64, median of the observed values (0 if there are none)
    scale       (N,) float64, always > 0
    """

    grid: Grid
    series_ids: tuple[str, ...]
    start: int
    deviations: Tensor
    offset: Tensor
    scale: Tensor
    counts: PanelCounts

    def __len__(self) -> int:
        return len(self.series_ids)

    def with_counts(self, more: PanelCounts) -> "Panel":
        """Return the same panel with more to its counts."""
        return replace(self, counts=self.counts + more)

    @property
    def length(self) -> int:
        """Number of columns, T."""
        return int(self.deviations.shape[1])

    @property
    def end(self) -> int:
        """Grid index of the last column."""
        return self.start + self.length - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Finite observations by cell: `cell` = row · T + column, `shape` = (N, T)."""

    cell: np.ndarray
    value: np.ndarray
    shape: tuple[int, int]


def build(
    observations: pl.DataFrame,
    grid: Grid,
    *,
    season_length: int = 1,
    start: int | None = None,
    end: int | None = None,
    scales: Mapping[str, float] | None = None,
) -> Panel:
    """Lay OBSERVATIONS on the grid, columns `start` to `end` (default: first to last observed).

    Observations outside the columns are dropped before anything is computed, so nothing after
    `end` can reach a forecast. A series without a row inside the columns is not in the panel;
    one with only gaps is. ValueError if `end` lies more than one step before `start`.
    """
    conform(observations, OBSERVATIONS)
    located = _locate(observations, grid, start, end)
    start, length = _extent(located["index"], start, end)
    series_ids, located = _number(located)
    seen = located.filter(pl.col("value").is_not_null())
    finite = seen.filter(pl.col("value").is_finite())
    values, merged = mean_by_cell(_cells(finite, len(series_ids), start, length))
    off_grid = int((grid.timestamps_of(seen["index"]) != seen["timestamp"]).sum())
    counts = PanelCounts(merged=merged, off_grid=off_grid, non_finite=len(seen) - len(finite))
    return from_values(
        torch.from_numpy(values),
        grid,
        series_ids,
        start,
        season_length=season_length,
        scales=scales or {},
    ).with_counts(counts)


def from_values(
    values: Tensor,
    grid: Grid,
    series_ids: tuple[str, ...],
    start: int,
    *,
    season_length: int,
    scales: Mapping[str, float],
) -> Panel:
    """Return the panel of cells (N, T) float64, NaN where unobserved, else finite."""
    offset = _median(values)
    scale = _scale(values, offset, season_length, _given_scales(series_ids, scales))
    deviations, overflowed = _deviations(values, offset, scale)
    return Panel(
        grid=grid,
        series_ids=series_ids,
        start=start,
        deviations=deviations,
        offset=offset,
        scale=scale,
        counts=PanelCounts(non_finite=overflowed, gaps=gaps(deviations, grid, start)),
    )


def _locate(
    observations: pl.DataFrame, grid: Grid, start: int | None, end: int | None
) -> pl.DataFrame:
    """Add each row's grid `index` and keep the rows from `start` to `end`."""
    located = observations.with_columns(grid.index_of(observations["timestamp"]).alias("index"))
    if start is not None:
        located = located.filter(pl.col("index") >= start)
    if end is not None:
        located = located.filter(pl.col("index") <= end)
    return located


def _extent(indices: pl.Series, start: int | None, end: int | None) -> tuple[int, int]:
    """Return the first column's grid index and the number of columns."""
    if start is None:
        lowest = indices.min()
        start = lowest if isinstance(lowest, int) else (0 if end is None else end + 1)
    if end is None:
        highest = indices.max()
        end = highest if isinstance(highest, int) else start - 1
    if end < start - 1:
        raise ValueError(f"end must not lie before start {start}, found {end}")
    return start, end - start + 1


def _number(located: pl.DataFrame) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Return the sorted keys, and each row's place among them in `row`: read once per run."""
    runs = located["series_id"].rle().struct.unnest()
    keys = runs["value"].unique().sort()
    places = runs["value"].cast(pl.Enum(keys)).to_physical().to_numpy()
    rows = np.repeat(places.astype(np.int64), runs["len"].to_numpy())
    return tuple(keys), located.with_columns(pl.Series("row", rows))


def _cells(finite: pl.DataFrame, rows: int, start: int, length: int) -> Cells:
    cell = finite["row"] * length + (finite["index"] - start)
    return Cells(cell=cell.to_numpy(), value=finite["value"].to_numpy(), shape=(rows, length))


def mean_by_cell(cells: Cells) -> tuple[np.ndarray, int]:
    """Return the mean of each cell (N, T) float64, NaN if empty, and the surplus observations."""
    size = cells.shape[0] * cells.shape[1]
    if (cells.cell[1:] > cells.cell[:-1]).all():
        alone = np.full(size, np.nan)
        alone[cells.cell] = cells.value + 0.0  # as in a sum, no zero is negative
        return alone.reshape(cells.shape), 0
    taken = np.bincount(cells.cell, minlength=size)
    sums = np.bincount(cells.cell, weights=cells.value, minlength=size)
    values = sums.astype(np.float64, copy=False)  # numpy counts in integers if there are none
    with np.errstate(invalid="ignore"):
        np.divide(values, taken, out=values)
    if (too_large := np.isinf(values)).any():
        shares = cells.value / taken[cells.cell]
        values[too_large] = np.bincount(cells.cell, weights=shares, minlength=size)[too_large]
    merged = len(cells.cell) - int(np.count_nonzero(taken))
    return values.reshape(cells.shape), merged


def _median(values: Tensor) -> Tensor:
    """Return the median of the observed values (N,), 0 if there are none."""
    if values.shape[1] == 0:
        return torch.zeros(len(values), dtype=values.dtype)
    return values.nanmedian(dim=1).values.nan_to_num(nan=0.0)


def _deviations(values: Tensor, offset: Tensor, scale: Tensor) -> tuple[Tensor, int]:
    """Return float32 deviations (N, T) and how many became gaps because they overflowed."""
    deviations = (values - offset[:, None]).div_(scale[:, None]).float()
    overflowed = deviations.isinf()
    return deviations.masked_fill_(overflowed, torch.nan), int(overflowed.sum())


def _given_scales(series_ids: tuple[str, ...], scales: Mapping[str, float]) -> Tensor:
    """Return the scale given for each series, NaN where there is none."""
    given = np.array([*map(scales.get, series_ids)], np.float64)  # None becomes NaN
    return torch.from_numpy(given)


def _scale(values: Tensor, offset: Tensor, season_length: int, given: Tensor) -> Tensor:
    """Return the scale that was given for each series, or else that of its own values."""
    is_open = ~(given.isfinite() & (given > 0))
    if not is_open.any():
        return given
    scale = given.clone()
    scale[is_open] = _own_scale(values[is_open], offset[is_open], season_length)
    return scale


def own_scale(values: Tensor, season_length: int) -> Tensor:
    """Return the scale (N,) that cells (N, T) float64, NaN where unobserved, from themselves."""
    return _own_scale(values, _median(values), season_length)


def _own_scale(values: Tensor, offset: Tensor, season_length: int) -> Tensor:
    rounding = offset.abs() * _ROUNDING
    deviation = _standard_deviation(values)
    smallest = torch.fmax(rounding, deviation * _SMALLEST_SCALE)
    scale = _prefer(deviation, rounding, _least_scale(offset))
    return _prefer(_seasonal_error(values, season_length), smallest, scale)


def constant_series(panel: Panel) -> Tensor:
    """Return (N,) which series are constant: their scale cannot be estimated."""
    return panel.scale == _least_scale(panel.offset)


def _least_scale(offset: Tensor) -> Tensor:
    return offset.abs().clamp(min=1.0) * _SMALLEST_SCALE


def _prefer(scale: Tensor, least: Tensor, otherwise: Tensor) -> Tensor:
    """Take each `scale` that is finite and more than `least`, else `otherwise`."""
    return torch.where(scale.isfinite() & (scale > least), scale, otherwise)


def _seasonal_error(values: Tensor, season_length: int) -> Tensor:
    """Return mean |y_t - y_{t - season_length}| over observed pairs (N,), NaN without a pair."""
    changes = values[:, season_length:] - values[:, :-season_length]
    return changes.abs_().nanmean(dim=1)


def _standard_deviation(values: Tensor) -> Tensor:
    """Return the standard deviation of the observed values (N,), NaN if there are none."""
    centred = values - values.nanmean(dim=1, keepdim=True)
    return centred.square_().nanmean(dim=1).sqrt_()
