"""Which windows can be forecast from, and why the others cannot.

Closed steps count for nothing: neither as silence nor as values that are missing. A series that is
closed for longer than others of its dataset is not silent then either: a step at which it had no
value on any day before, or in any week before, is none at which one was to come.
"""

import torch
from torch import Tensor

from forecaster.data.open_steps import open_steps
from forecaster.data.windows import Windows
from forecaster.errors import SkipReason
from forecaster.network.spec import ModelSpec
from forecaster.times.durations import Step

REASONS = tuple(SkipReason)
FORECAST = len(REASONS)
"""The outcome of a window that can be forecast; lower outcomes are positions in REASONS."""
FEWEST_VALUES = 2
_PERIODS = ("1d", "1w")


def classify(windows: Windows, spec: ModelSpec) -> Tensor:
    """Return (B,) whether each context (B, L) can be forecast from, or why not."""
    observed = windows.context.isfinite()
    count = observed.sum(1)
    lag = observed.flip(1).to(torch.int8).argmax(1)  # steps since the last observed value
    least = torch.full_like(count, spec.min_observed)
    if spec.opening_hours:
        opened = open_steps(spec.grid(), windows.cutoffs, 1 - spec.context_length, 0)
        lag = _open_lag(observed, opened, spec)
        least = least.minimum(opened.sum(1) // 2).clamp(min=FEWEST_VALUES)
    outcome = torch.full_like(count, FORECAST)
    outcome[count < least] = REASONS.index(SkipReason.TOO_SHORT)
    outcome[lag > spec.max_lag] = REASONS.index(SkipReason.STALE)
    outcome[count == 0] = REASONS.index(SkipReason.NO_DATA)
    return outcome


def _open_lag(observed: Tensor, opened: Tensor, spec: ModelSpec) -> Tensor:
    """Return the steps (B,) since the last observed value at which one was to come."""
    columns = torch.arange(observed.shape[1], device=observed.device)
    last = torch.where(observed, columns, -1).amax(1, keepdim=True)
    silent = opened & (columns > last)
    late = (silent.sum(1) > spec.max_lag).nonzero()[:, 0]
    before = opened[late] & (columns <= last[late])
    for period in _periods(spec):
        usual = _by_phase(before, period) & ~_by_phase(observed[late], period)
        silent[late] &= ~usual
    return silent.sum(1)


def _periods(spec: ModelSpec) -> list[int]:
    """Return the day and the week in steps, where whole."""
    step, lengths = Step.parse(spec.step), []
    for period in _PERIODS:
        try:
            lengths.append(step.steps_in(period))
        except ValueError:
            continue
    return [period for period in lengths if period > 1]


def _by_phase(marks: Tensor, period: int) -> Tensor:
    """Return (B, L) whether any mark (B, L) has the phase of each step."""
    length = marks.shape[1]
    padding = -length % period
    phases = torch.nn.functional.pad(marks, (padding, 0)).unflatten(1, (-1, period)).any(1)
    repeated: Tensor = phases.repeat(1, (length + padding) // period)
    return repeated[:, padding:]
