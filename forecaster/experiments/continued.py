"""A panel extended by later observations, in the units of what was known before."""

from dataclasses import replace

import polars as pl
import torch
from torch import Tensor

from forecaster.data.panel import Cells, Panel, mean_by_cell


def continued(panel: Panel, later: pl.DataFrame, after: Tensor) -> Panel:
    """Return `panel` with the OBSERVATIONS `later`: same series, first column, offsets and scales.

    Of a series only what lies after its cell `after` (N,) is added, so that nothing up to there
    changes by a bit, whatever came later. Series that the panel lacks are left out. Values that are
    not finite, or overflow float32, are gaps.
    """
    rows = pl.DataFrame({"series_id": panel.series_ids, "after": after.numpy()}).with_row_index(
        "row"
    )
    located = (
        later.with_columns(panel.grid.index_of(later["timestamp"]).alias("index"))
        .join(rows, on="series_id")
        .filter(pl.col("index") > pl.col("after"), pl.col("value").is_finite())
    )
    newest = located["index"].max()
    end = max(panel.end, newest) if isinstance(newest, int) else panel.end
    fresh = _deviations(panel, located, end - panel.start + 1)
    deviations = torch.full(fresh.shape, torch.nan)
    deviations[:, : panel.length] = panel.deviations
    return replace(panel, deviations=torch.where(fresh.isfinite(), fresh, deviations))


def _deviations(panel: Panel, located: pl.DataFrame, length: int) -> Tensor:
    """Return deviations (N, length) of `located` rows, NaN where there are none."""
    cell = located["row"].cast(pl.Int64) * length + (located["index"] - panel.start)
    cells = Cells(
        cell=cell.to_numpy(), value=located["value"].to_numpy(), shape=(len(panel), length)
    )
    values = torch.from_numpy(mean_by_cell(cells)[0])
    deviations = ((values - panel.offset[:, None]) / panel.scale[:, None]).float()
    return deviations.masked_fill_(deviations.isinf(), torch.nan)
