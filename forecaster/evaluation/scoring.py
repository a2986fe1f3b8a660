"""Score forecasts against actuals, and beside seasonal naive on the same points.

All cutoffs in one pass, in chunks of bounded memory, through the windows that training and live
forecasts see. Definitions are those of `forecaster.evaluation.metrics`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecaster.baselines.naive import seasonal_naive
from forecaster.data.panel import Panel, own_scale
from forecaster.data.windows import gather
from forecaster.evaluation import metrics

_MOST_POINTS = 2**19
"""Of the windows of a chunk: enough for full speed."""
_BESIDE = ("actual", "seasonal_naive", "scale")


def score_forecasts(
    forecasts: pl.DataFrame,
    panel: Panel,
    *,
    season_length: int,
    lookback: int,
    prediction_length: int,
    own: int | None = None,
) -> pl.DataFrame:
    """Return ACCURACY of the forecasts of one model, at any number of cutoffs.

    `forecasts` has series_id, cutoff, step (1 …) and the quantile columns q025 … q975, in any order
    and with any of the steps. Series that are not in the panel are left out. Seasonal naive sees
    the `lookback` steps that end at a cutoff. The scale of a series is that of the panel, or else
    that of its `own` steps up to the cutoff, at most `lookback`, whatever else the panel holds. The
    leads are those of `prediction_length`.
    """
    steps = forecasts["step"].cast(pl.Int64).to_numpy()
    horizon = int(steps.max(initial=0))
    beside = np.full((len(_BESIDE), len(steps)), np.nan)
    for chunk in _chunks(forecasts, panel, max(1, _MOST_POINTS // (lookback + horizon))):
        windows = gather(panel, chunk.series, chunk.ends, lookback, horizon)
        assert windows.target is not None
        naive = seasonal_naive(windows.context, horizon, season_length)
        place = (chunk.window, torch.from_numpy(steps[chunk.rows]) - 1)
        of_row = chunk.series[chunk.window]
        scale, offset = panel.scale[of_row], panel.offset[of_row]
        points = [offset + scale * deviations[place] for deviations in (windows.target, naive)]
        if own is not None:
            unit, zero = (part[chunk.series, None] for part in (panel.scale, panel.offset))
            own_values = zero + unit * windows.context[:, -own:]
            scale = own_scale(own_values, season_length)[chunk.window]
        beside[:, chunk.rows] = torch.stack((*points, scale)).numpy()
    named = (pl.Series(name, values) for name, values in zip(_BESIDE, beside, strict=True))
    return metrics.score(forecasts.with_columns(named), prediction_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """W windows of a panel, and the R forecast rows at their cutoffs."""

    series: Tensor
    """Rows of the panel (W,)."""
    ends: Tensor
    """Grid indices of the cutoffs (W,)."""
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Rows of the forecasts (R,)."""
    window: Tensor
    """The window of each of them (R,)."""


def _chunks(forecasts: pl.DataFrame, panel: Panel, size: int) -> Iterator[_Chunk]:
    """Yield each pair of a series and a cutoff once, `size` of them at a time."""
    runs = _runs(forecasts, panel).with_columns(chunk=pl.col("window") // size)
    for part in runs.partition_by("chunk", maintain_order=True):
        windows = part.unique("window", keep="first", maintain_order=True)
        rows = part.select(
            pl.col("window") % size, row=pl.int_ranges("row", pl.col("row") + pl.col("len"))
        ).explode("row")
        yield _Chunk(
            series=torch.tensor(windows["series"].to_numpy()),
            ends=torch.tensor(windows["end"].to_numpy()),
            rows=rows["row"].to_numpy(),
            window=torch.tensor(rows["window"].to_numpy()),
        )


def _runs(forecasts: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    """Return first `row` and `len` of each run of rows of one pair, in the order of the pairs."""
    names = pl.Series("series_id", panel.series_ids, dtype=pl.String)
    series = names.to_frame().with_row_index("series")
    runs = forecasts.select(run=pl.struct("series_id", "cutoff").rle()).unnest("run")
    keys = runs["value"].struct.unnest()
    length = runs["len"].cast(pl.Int64)
    return (
        keys.select("series_id", panel.grid.index_of(keys["cutoff"]).alias("end"))
        .with_columns(row=length.cum_sum() - length, len=length)
        .join(series, on="series_id")
        .with_columns(pl.col("series").cast(pl.Int64))
        .sort("series", "end")
        .with_columns(window=pl.struct("series", "end").rle_id().cast(pl.Int64))
    )
