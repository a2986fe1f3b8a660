"""Rows of a context as histories without gaps, for methods that take no others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The values of a row of a context, from its first to its last.

    values  (T,) float64; between two observed values a gap lies on the straight line
    age     how many steps before the cutoff the last one lies, 0 at the cutoff
    """

    row: int
    values: Array
    age: int


def histories(context: Tensor) -> Iterator[History]:
    """Return the history of each row of `context` (B, L) that has a finite value, in order."""
    observed = context.isfinite().cpu().numpy()
    values = torch.where(context.isfinite(), context, 0.0).double().cpu().numpy()
    for row in np.flatnonzero(observed.any(axis=1)):
        places = np.flatnonzero(observed[row])
        positions = np.arange(places[0], places[-1] + 1)
        filled = np.interp(positions, places, values[row, places])
        yield History(row=int(row), values=filled, age=context.shape[1] - 1 - int(places[-1]))
