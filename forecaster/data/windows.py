"""Windows of a panel, the same for training, live forecasts and backfills."""

from dataclasses import dataclass

import torch
from torch import Tensor

from forecaster.data.open_steps import open_steps
from forecaster.data.panel import Panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """B windows of a panel, in its deviation units, NaN where missing or outside the panel.

    context  (B, L) float32, right-aligned: its last column is the cutoff
    target   (B, H) float32, the steps after the cutoff, NaN too where closed; None if none were
             asked for
    scale    (B,) float32, the unit of the values: ones, since deviations are already scaled
    rows     (B,) int64, rows of the panel
    cutoffs  (B,) int64, grid indices
    """

    context: Tensor
    target: Tensor | None
    scale: Tensor
    rows: Tensor
    cutoffs: Tensor


def gather(
    panel: Panel,
    rows: Tensor,
    cutoffs: Tensor,
    context_length: int,
    prediction_length: int = 0,
) -> Windows:
    """Cut the windows of `rows` (B,) that end at `cutoffs` (B,), on the device of the panel.

    The context holds `context_length` steps up to and including the cutoff; nothing after the
    cutoff reaches it. IndexError if a row is not one of the panel's.
    """
    values = _between(panel, rows, cutoffs, 1 - context_length, prediction_length)
    device = panel.deviations.device
    rows, cutoffs = rows.to(device), cutoffs.to(device)
    target = values[:, context_length:]
    if panel.grid.hours is not None and prediction_length:
        target = target.masked_fill(
            ~open_steps(panel.grid, cutoffs, 1, prediction_length), torch.nan
        )
    return Windows(
        context=values[:, :context_length],
        target=target if prediction_length else None,
        scale=torch.ones(len(rows), device=device),
        rows=rows,
        cutoffs=cutoffs,
    )


def _between(panel: Panel, rows: Tensor, cutoffs: Tensor, first: int, last: int) -> Tensor:
    """Return the deviations (B, W) at the steps `first` to `last` from the cutoffs."""
    device = panel.deviations.device
    if len(cutoffs) and (cutoffs == cutoffs[0]).all():  # as live: rows are copied in one piece
        start, stop = (int(cutoffs[0]) - panel.start + step for step in (first, last + 1))
        if start >= 0 and stop <= panel.length:
            return panel.deviations[:, start:stop][rows.to(device)]
    steps = torch.arange(first, last + 1, device=device)
    return _at(panel, rows.to(device), cutoffs.to(device)[:, None] + steps)


def _at(panel: Panel, rows: Tensor, indices: Tensor) -> Tensor:
    """Return the deviations (B, W) at grid indices (B, W), NaN outside the panel."""
    columns = indices - panel.start
    inside = (columns >= 0) & (columns < panel.length)
    if panel.length == 0:
        return torch.full(columns.shape, torch.nan, device=columns.device)
    values = panel.deviations[rows[:, None], columns.clamp(0, panel.length - 1)]
    return values.masked_fill(~inside, torch.nan)
