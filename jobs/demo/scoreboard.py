"""The score of a replay so far: the model and the naive forecasts, on the same points."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl
import torch
from torch import Tensor

from forecaster.baselines import registry
from forecaster.data.panel import Panel
from forecaster.data.windows import gather
from forecaster.network.spec import ModelSpec
from forecaster.schemas import INSTANT
from forecaster.times.durations import format_duration

MODEL = "model"
LONG_MEMORY = 20
"""Long seasons of history that the naive forecasts of a replay may look at."""
CHUNK = 1024
"""Windows in memory at once."""
_KEYS = ("series_id", "cutoff", "step")
_ACTUAL = "actual"
_SCALE = "scale"


class Scoreboard:
    """Errors summed over all matured forecasts, scaled by each series' seasonal error."""

    def __init__(self, yardsticks: pl.DataFrame) -> None:
        """Start from the naive forecasts of every cutoff, as `yardsticks` returns them."""
        self._yardsticks = yardsticks
        self.names = [name for name in yardsticks.columns if name not in (*_KEYS, _ACTUAL, _SCALE)]
        self._sums: pl.DataFrame | None = None

    def add(self, matured: pl.DataFrame) -> None:
        """Add forecasts that matured: series_id, cutoff, step, q10, q50 and q90."""
        joined = matured.join(self._yardsticks, on=list(_KEYS), how="inner").filter(
            pl.all_horizontal(pl.col(_ACTUAL, *self.names).is_finite())
        )
        errors = {MODEL: pl.col("q50"), **{name: pl.col(name) for name in self.names}}
        sums = joined.group_by("series_id").agg(
            pl.len().alias("points"),
            pl.col(_ACTUAL).is_between(pl.col("q10"), pl.col("q90")).sum().alias("covered"),
            *(
                ((forecast - pl.col(_ACTUAL)).abs() / pl.col(_SCALE)).sum().alias(f"|{name}|")
                for name, forecast in errors.items()
            ),
        )
        known = sums if self._sums is None else pl.concat([self._sums, sums])
        self._sums = known.group_by("series_id").agg(pl.all().sum())

    def mase(self) -> dict[str, float]:
        """Return the mean over series of each forecast's MASE; empty before anything matured."""
        if self._sums is None or self._sums.is_empty():
            return {}
        names = [MODEL, *self.names]
        means = self._sums.select((pl.col(f"|{name}|") / pl.col("points")).mean() for name in names)
        return dict(zip(names, means.row(0), strict=True))

    def coverage_80(self) -> float | None:
        """Return the share of actuals inside the 80 % interval; None before anything matured."""
        if self._sums is None or self._sums.is_empty():
            return None
        covered, points = self._sums.select(pl.col("covered", "points").sum()).row(0)
        return float(covered / points)


def yardsticks(panel: Panel, spec: ModelSpec, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Return the naive forecasts of every series, cutoff and step, with `actual` and `scale`.

    They see more than the model: up to LONG_MEMORY long seasons, which steadies the drift. With a
    long season there is a seasonal naive of each.
    """
    indices = torch.tensor([panel.grid.index_at(cutoff) for cutoff in cutoffs])
    pairs = torch.cartesian_prod(torch.arange(len(panel)), indices).view(-1, 2)
    chunks = [_naive_forecasts(panel, spec, chunk) for chunk in pairs.split(CHUNK)]
    keys = pl.DataFrame({"series_id": panel.series_ids, _SCALE: panel.scale.numpy()}).join(
        pl.DataFrame({"cutoff": pl.Series(cutoffs, dtype=INSTANT)}), how="cross"
    )
    steps = pl.DataFrame(
        {"step": pl.arange(1, spec.prediction_length + 1, dtype=pl.Int32, eager=True)}
    )
    return keys.join(steps, how="cross").with_columns(
        pl.Series(name, torch.cat([chunk[name] for chunk in chunks]).flatten().numpy())
        for name in chunks[0]
    )


def _naive_forecasts(panel: Panel, spec: ModelSpec, pairs: Tensor) -> dict[str, Tensor]:
    """Return what happened after each (row, cutoff) of `pairs`, and each naive forecast: (B, H)."""
    rows, cutoffs, horizon = pairs[:, 0], pairs[:, 1], spec.prediction_length
    memory = min(panel.length, max(spec.context_length, LONG_MEMORY * spec.long_season))
    windows = gather(panel, rows, cutoffs, memory, horizon)
    assert windows.target is not None
    deviations = {_ACTUAL: windows.target} | {
        name: forecast(windows.context, horizon, season)
        for name, forecast, season in _forecasts(spec)
    }
    return {
        name: panel.offset[rows, None] + panel.scale[rows, None] * found.double()
        for name, found in deviations.items()
    }


def _forecasts(spec: ModelSpec) -> list[tuple[str, registry.PointForecast, int]]:
    season = _length(spec, spec.season_length)
    found: list[tuple[str, registry.PointForecast, int]] = [("naive", registry.naive, 1)]
    if spec.season_length > 1:
        found.append((f"seasonal {season}", registry.seasonal_naive, spec.season_length))
    if spec.long_season > spec.season_length:
        name = f"seasonal {_length(spec, spec.long_season)}"
        found.append((name, registry.seasonal_naive, spec.long_season))
    drift = f"{season} + drift" if spec.season_length > 1 else "drift"
    found.append((drift, registry.seasonal_naive_drift, spec.season_length))
    return found


def _length(spec: ModelSpec, steps: int) -> str:
    """Return how long `steps` last, such as 1d."""
    whole: timedelta = spec.grid().step.approximate * steps
    return format_duration(timedelta(seconds=round(whole.total_seconds())))
