"""From network units to published numbers: a float64 level, and float32 deviations from it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecaster.data.open_cells import Array, is_open
from forecaster.network.network import NetworkOutput
from forecaster.network.output_heads import MEDIAN
from forecaster.network.spec import ModelSpec
from forecaster.schemas import (
    ATTENTION,
    DEVIATION_COLUMNS,
    FORECAST_ARRAYS,
    FORECASTS,
    PART_COLUMNS,
    PATCHES,
    STEPS,
    conform,
)

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """B forecasts in the units of the data, on the CPU.

    level       (B,) float64
    parts       (B, H, 4) float32, as PART_COLUMNS: with the level they add up to the median
    deviations  (B, H, Q) float32: with the level they are the quantiles, ascending
    weights     (B, Hp, S) float32: shares of the sources of each future patch
    """

    level: Tensor
    parts: Tensor
    deviations: Tensor
    weights: Tensor

    def finite(self) -> Tensor:
        """Return (B,), False where any number is NaN or infinite."""
        tensors = (self.level[:, None], self.parts, self.deviations, self.weights)
        if all(tensor.sum().isfinite() for tensor in tensors):  # NaN and infinity reach the sum
            return torch.ones(len(self.level), dtype=torch.bool)
        return torch.stack([t.flatten(1).isfinite().all(1) for t in tensors]).all(0)

    def select(self, kept: Tensor | slice) -> "Numbers":
        """Return the forecasts of a slice, or where `kept` (B,) is true."""
        return Numbers(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})


def concatenate(parts: Sequence[Numbers]) -> Numbers:
    """Put batches in a row."""
    return Numbers(
        **{
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(Numbers)
        }
    )


def in_units(output: NetworkOutput, offset: Tensor, scale: Tensor, bounds: Bounds) -> Numbers:
    """Undo the scaling of the panel, value = offset + scale * deviation (both (B,) float64).

    `bounds` clip every quantile; the change to the median becomes the `adjustment`.
    """
    level = offset + scale * output.level.cpu().double()
    unit = scale[:, None, None]
    free = (output.deviations.cpu() * unit).float()
    deviations = clip(free, level, bounds)
    parts = torch.stack((output.copied, output.last_value, output.residual), 2).cpu() * unit
    adjustment = deviations[..., MEDIAN] - free[..., MEDIAN]
    return Numbers(
        level=level,
        parts=torch.cat((parts.float(), adjustment[..., None]), 2),
        deviations=deviations,
        weights=output.weights.cpu(),
    )


def clip(deviations: Tensor, level: Tensor, bounds: Bounds) -> Tensor:
    """Clip deviations (B, H, Q) so that level + deviation, in float64, lies inside `bounds`."""
    lower, upper = bounds
    if lower is not None:
        deviations = torch.maximum(deviations, _inside(lower, level, torch.inf))
    if upper is not None:
        deviations = torch.minimum(deviations, _inside(upper, level, -torch.inf))
    return deviations


def _inside(bound: float, level: Tensor, inwards: float) -> Tensor:
    """Return the float32 deviation (B, 1, 1) nearest to `bound` that does not lie outside it."""
    nearest = (bound - level).float()
    reached = level + nearest.double()
    outside = reached < bound if inwards > 0 else reached > bound
    moved = torch.nextafter(nearest, torch.full_like(nearest, inwards))
    return torch.where(outside, moved, nearest)[:, None, None]


def forecasts_frame(numbers: Numbers, keys: pl.DataFrame, spec: ModelSpec) -> pl.DataFrame:
    """Return FORECASTS; `keys` has series_id, status, hindsight and the cutoff's grid index `end`.

    Without the steps that are closed.
    """
    horizon = spec.prediction_length
    step = pl.Series("step", list(range(1, horizon + 1)), dtype=pl.Int32)
    frame = keys.with_columns(pl.Series("level", numbers.level.numpy())).join(
        _instants(keys["end"].unique(), step, spec), on="end", how="left", maintain_order="left"
    )
    frame = frame.explode("step", "timestamp")
    values = torch.cat((numbers.parts, numbers.deviations), 2).flatten(0, 1)
    columns = zip((*PART_COLUMNS, *DEVIATION_COLUMNS), values.T.contiguous().numpy(), strict=True)
    frame = frame.with_columns(pl.Series(name, column) for name, column in columns)
    if spec.opening_hours:
        frame = frame.filter(pl.Series(_open_steps(keys["end"], spec).ravel()))
    return conform(frame.select(FORECASTS.names()), FORECASTS)


def arrays_frame(numbers: Numbers, keys: pl.DataFrame, spec: ModelSpec) -> pl.DataFrame:
    """Return FORECAST_ARRAYS of the same `keys`."""
    arrays = {"parts": numbers.parts, "deviations": numbers.deviations}
    frame = keys.with_columns(
        spec.grid().timestamps_of(keys["end"]).alias("cutoff"),
        pl.Series("level", numbers.level.numpy()),
        *(pl.Series(name, array.numpy()).arr.to_list() for name, array in arrays.items()),
    )
    return conform(frame.select(FORECAST_ARRAYS.names()), FORECAST_ARRAYS)


def steps_frame(ends: Sequence[int], spec: ModelSpec) -> pl.DataFrame:
    """Return STEPS of the cutoffs at grid indices `ends`."""
    end = pl.Series("end", ends, dtype=pl.Int64)
    step = pl.Series("step", list(range(1, spec.prediction_length + 1)), dtype=pl.Int32)
    frame = _instants(end, step, spec).explode("step", "timestamp")
    if spec.opening_hours:
        frame = frame.filter(pl.Series(_open_steps(end, spec).ravel()))
    return conform(frame.select(STEPS.names()), STEPS)


def rows_of(ends: pl.Series, spec: ModelSpec) -> int:
    """Count the rows of FORECASTS at the cutoffs `ends` (B,): closed steps have none."""
    return int(_open_steps(ends, spec).sum())


def attention_rows_of(ends: pl.Series, spec: ModelSpec) -> int:
    """Count the rows of ATTENTION at the cutoffs `ends` (B,)."""
    return int(_open_patches(ends, spec).sum())


def _open_steps(ends: pl.Series, spec: ModelSpec) -> Array:
    """Return (B, H) which steps after the cutoffs at grid indices `ends` (B,) are open."""
    steps = np.arange(1, spec.prediction_length + 1)
    return is_open(spec.grid(), ends.to_numpy()[:, None] + steps)


def _open_patches(ends: pl.Series, spec: ModelSpec) -> Array:
    """Return (B, Hp) which future patches have an open step."""
    first = np.arange(0, spec.prediction_length, spec.patch_length)
    return np.logical_or.reduceat(_open_steps(ends, spec), first, axis=1)


def _instants(ends: pl.Series, step: pl.Series, spec: ModelSpec) -> pl.DataFrame:
    """Return one row per cutoff: its instant, and the lists of its steps and their instants."""
    pairs = pl.DataFrame({"end": ends}).join(step.to_frame(), how="cross", maintain_order="left")
    grid = spec.grid()
    return (
        pairs.with_columns(
            grid.timestamps_of(pairs["end"]).alias("cutoff"),
            grid.timestamps_of(pairs["end"] + pairs["step"]).alias("timestamp"),
        )
        .group_by("end", "cutoff", maintain_order=True)
        .all()
    )


def attention_frame(numbers: Numbers, keys: pl.DataFrame, spec: ModelSpec) -> pl.DataFrame:
    """Return ATTENTION of the same `keys`: one row per forecast and future patch.

    Without the patches that are closed as a whole.
    """
    first = range(1, spec.prediction_length + 1, spec.patch_length)
    patches = pl.DataFrame({"step_from": pl.Series(list(first), dtype=pl.Int32)}).with_columns(
        (pl.col("step_from") + spec.patch_length - 1)
        .clip(upper_bound=spec.prediction_length)
        .alias("step_to")
    )
    frame = keys.with_columns(spec.grid().timestamps_of(keys["end"]).alias("cutoff"))
    frame = frame.join(patches, how="cross", maintain_order="left_right")
    weights = numbers.weights.flatten(0, 1)
    column = pl.Series("weights", weights.numpy(), dtype=pl.Array(pl.Float32, weights.shape[1]))
    frame = frame.with_columns(column.cast(pl.List(pl.Float32)))
    if spec.opening_hours:
        frame = frame.filter(pl.Series(_open_patches(keys["end"], spec).ravel()))
    return conform(frame.select(ATTENTION.names()), ATTENTION)


def patches_frame(ends: list[int], spec: ModelSpec) -> pl.DataFrame:
    """Return PATCHES of the cutoffs at grid indices `ends`."""
    patch = pl.DataFrame(
        {"patch": pl.Series(list(range(1, spec.past_patches + 1)), dtype=pl.Int32)}
    )
    frame = pl.DataFrame({"end": pl.Series(ends, dtype=pl.Int64)}).join(
        patch, how="cross", maintain_order="left_right"
    )
    last = frame["end"] - (spec.past_patches - frame["patch"].cast(pl.Int64)) * spec.patch_length
    grid = spec.grid()
    frame = frame.with_columns(
        grid.timestamps_of(frame["end"]).alias("cutoff"),
        grid.timestamps_of(last - spec.patch_length + 1).alias("context_from"),
        grid.timestamps_of(last).alias("context_to"),
    )
    return conform(frame.select(PATCHES.names()), PATCHES)
