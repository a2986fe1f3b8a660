"""Records: every forecast of a backtest as rows, in the units of the data."""

from collections.abc import Callable

import polars as pl
import torch
from torch import Tensor

from forecaster.data.panel import Panel
from forecaster.data.windows import Windows, gather
from forecaster.evaluation.rolling_origin import Predictor
from forecaster.schemas import INSTANT, QUANTILE_COLUMNS

RECORDS = pl.Schema(
    {
        "predictor": pl.String(),
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "step": pl.Int64(),
        "timestamp": INSTANT,
        "actual": pl.Float64(),
        **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64()),
    }
)
"""Of a record: `step` counts from the cutoff, `actual` is null where nothing was observed."""


def recorded(
    name: str, predictor: Predictor, panel: Panel, keep: Callable[[pl.DataFrame], None]
) -> Predictor:
    """Return a predictor that hands each of its forecasts to `keep`, as rows of `RECORDS`."""

    def predict(windows: Windows) -> Tensor:
        quantiles = predictor(windows)
        keep(_frame(name, panel, windows, quantiles))
        return quantiles

    return predict


def _frame(name: str, panel: Panel, windows: Windows, quantiles: Tensor) -> pl.DataFrame:
    rows, cutoffs, horizon = windows.rows.cpu(), windows.cutoffs.cpu(), quantiles.shape[1]
    target = gather(panel, rows, cutoffs, 0, horizon).target
    assert target is not None
    offset, scale = (part[rows, None] for part in (panel.offset, panel.scale))
    steps = torch.arange(1, horizon + 1).expand(len(rows), -1)
    values = offset[..., None] + scale[..., None] * quantiles.cpu().double()
    ends = cutoffs.repeat_interleave(horizon)
    ids = pl.Series(panel.series_ids, dtype=pl.String)
    columns = {
        "predictor": pl.repeat(name, len(ends), eager=True),
        "series_id": ids.gather(rows.repeat_interleave(horizon).numpy()),
        "cutoff": panel.grid.timestamps_of(_series(ends)),
        "step": _series(steps.flatten()),
        "timestamp": panel.grid.timestamps_of(_series(ends + steps.flatten())),
        "actual": _series((offset + scale * target.double()).flatten()),
        **{
            column: _series(values[..., place].flatten())
            for place, column in enumerate(QUANTILE_COLUMNS)
        },
    }
    numbers = pl.selectors.float()
    frame = pl.DataFrame(columns).with_columns(pl.when(numbers.is_finite()).then(numbers))
    return frame.drop_nulls(QUANTILE_COLUMNS).cast(RECORDS)


def _series(values: Tensor) -> pl.Series:
    return pl.Series(values.contiguous().numpy())
