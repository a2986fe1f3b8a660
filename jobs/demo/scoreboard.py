"""The accuracy of a replay so far: the model and naive forecasts, on the same points."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import polars as pl
import torch
from torch import Tensor

from forecaster.baselines import naive
from forecaster.data.panel import Panel
from forecaster.data.windows import gather
from forecaster.network.spec import ModelSpec
from forecaster.schemas import INSTANT
from forecaster.store.forecasts import history
from forecaster.times.durations import format_duration

MODEL = "model"
LONG_MEMORY = 20
"""Long seasons of history that the naive forecasts of a replay are given."""
CHUNK = 1024
"""Windows in memory at once."""
_KEYS = ["series_id", "cutoff", "step"]


class Scoreboard:
    """Errors summed over all matured forecasts, scaled by each series' seasonal error."""

    def __init__(self, panel: Panel, spec: ModelSpec, cutoffs: Sequence[datetime]) -> None:
        """Compute the naive forecasts at all `cutoffs`; `panel` has all values up to the end."""
        self._naive = _naive_forecasts(panel, spec, cutoffs)
        self._names = [MODEL, *(name for name, _, _ in _methods(spec))]
        self._pending = pl.DataFrame(schema=history.INTERVALS)
        self._sums = self._sum(self._pending)

    def add(self, forecasts: pl.DataFrame, cutoff: datetime) -> None:
        """Add INTERVALS, and count what matured up to `cutoff`."""
        forecasts = pl.concat([self._pending, forecasts])
        has_matured = pl.col("timestamp") <= cutoff
        self._pending = forecasts.filter(~has_matured)
        sums = pl.concat([self._sums, self._sum(forecasts.filter(has_matured))])
        self._sums = sums.group_by("series_id").agg(pl.all().sum())

    def mase(self) -> dict[str, float]:
        """Return the mean over series of each forecast's MASE; empty before anything matured."""
        if self._sums.is_empty():
            return {}
        means = self._sums.select((pl.col(self._names) / pl.col("points")).mean())
        return means.row(0, named=True)

    def coverage_80(self) -> float | None:
        """Return the share of actuals inside the 80 % interval; None before anything matured."""
        covered, points = self._sums.select(pl.col("covered", "points").sum()).row(0)
        return covered / points if points else None

    def _sum(self, matured: pl.DataFrame) -> pl.DataFrame:
        """Return per series the number of points, those in the interval, and scaled errors."""
        actual = pl.col("actual")
        joined = matured.join(self._naive, on=_KEYS).rename({"q50": MODEL})
        known = joined.filter(pl.all_horizontal(pl.col("actual", *self._names[1:]).is_finite()))
        return known.group_by("series_id").agg(
            pl.len().alias("points"),
            actual.is_between("q10", "q90").sum().alias("covered"),
            ((pl.col(self._names) - actual).abs() / pl.col("scale")).sum(),
        )


def _naive_forecasts(panel: Panel, spec: ModelSpec, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Return the naive forecasts of every series, cutoff and step, with `actual` and `scale`.

    They see more than the model: up to LONG_MEMORY long seasons, which steadies the drift.
    """
    indices = torch.tensor([panel.grid.index_at(cutoff) for cutoff in cutoffs])
    pairs = torch.cartesian_prod(torch.arange(len(panel)), indices).view(-1, 2)
    chunks = [dict(_forecast(panel, spec, chunk)) for chunk in pairs.split(CHUNK)]
    series = pl.DataFrame({"series_id": panel.series_ids, "scale": panel.scale.numpy()})
    steps = pl.arange(1, spec.prediction_length + 1, dtype=pl.Int32, eager=True)
    keys = series.join(pl.DataFrame({"cutoff": pl.Series(cutoffs, dtype=INSTANT)}), how="cross")
    return keys.join(pl.DataFrame({"step": steps}), how="cross").with_columns(
        pl.Series(name, torch.cat([chunk[name] for chunk in chunks]).flatten().numpy())
        for name in chunks[0]
    )


def _forecast(panel: Panel, spec: ModelSpec, pairs: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the values after each (row, cutoff) of `pairs`, and each naive forecast: (B, H)."""
    rows, cutoffs, horizon = pairs[:, 0], pairs[:, 1], spec.prediction_length
    offset, scale = panel.offset[rows, None], panel.scale[rows, None]
    memory = min(panel.length, max(spec.context_length, LONG_MEMORY * spec.long_season))
    windows = gather(panel, rows, cutoffs, memory, horizon)
    assert windows.target is not None
    yield "actual", offset + scale * windows.target.double()
    for name, forecast, season in _methods(spec):
        yield name, offset + scale * forecast(windows.context, horizon, season).double()


def _methods(spec: ModelSpec) -> Iterator[tuple[str, naive.PointForecast, int]]:
    """Yield the naive forecasts and their seasons; with a long season, a seasonal naive of each."""
    yield "naive", naive.naive, 1
    season = spec.season_length
    for shorter, length in ((1, season), (season, spec.long_season)):
        if length > shorter:
            yield f"seasonal {_length(spec, length)}", naive.seasonal_naive, length
    name = f"{_length(spec, season)} + drift" if season > 1 else "drift"
    yield name, naive.seasonal_naive_drift, season


def _length(spec: ModelSpec, steps: int) -> str:
    """Return how long `steps` last, such as 1d."""
    whole: timedelta = spec.grid().step.approximate * steps
    return format_duration(timedelta(seconds=round(whole.total_seconds())))
