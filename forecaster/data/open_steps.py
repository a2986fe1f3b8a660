"""Open and closed steps as tensors: of windows, and of the values of a panel."""

import numpy as np
import torch
from torch import Tensor

from forecaster.data.grid import Grid
from forecaster.data.open_cells import is_open


def open_steps(grid: Grid, cutoffs: Tensor, first: int, last: int) -> Tensor:
    """Return (B, last - first + 1) which steps after the `cutoffs` (B,) are open; 0 is the cutoff.

    On the device of the cutoffs.
    """
    if grid.hours is None:
        shape = (len(cutoffs), last - first + 1)
        return torch.ones(shape, dtype=torch.bool, device=cutoffs.device)
    ends = cutoffs.cpu().numpy()
    are_open = is_open(grid, ends[:, None] + np.arange(first, last + 1))
    return torch.from_numpy(are_open).to(cutoffs.device)


def open_ahead(grid: Grid, cutoffs: Tensor, steps: int) -> Tensor:
    """Return (B,) after which `cutoffs` (B,), one after the other, any of so many steps is open."""
    first, last = int(cutoffs[0]) + 1, int(cutoffs[-1]) + steps
    so_far = np.append(0, is_open(grid, np.arange(first, last + 1)).cumsum())
    return torch.from_numpy(so_far[steps:] > so_far[:-steps])


def gaps(values: Tensor, grid: Grid, start: int) -> int:
    """Count the missing open cells of `values` (N, T) between each row's first and last finite one.

    `start` is the grid index of the first column.
    """
    observed, length = values.isfinite(), values.shape[1]
    if length == 0:
        return 0
    columns = torch.arange(length)
    opened = torch.from_numpy(is_open(grid, start + columns.numpy()))
    first = torch.where(observed, columns, length).amin(dim=1)
    last = torch.where(observed, columns, -1).amax(dim=1)
    before = torch.nn.functional.pad(opened.cumsum(0), (1, 0))
    spans = (before[last + 1] - before[first]).clamp(min=0)
    return int(spans.sum() - (observed & opened).sum())
