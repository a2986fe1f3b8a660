"""How good a network is on windows it has not learnt from."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from forecaster.frames import QUANTILE_LEVELS
from forecaster.model.loss import pinball
from forecaster.model.network import AttentionLSTM
from forecaster.model.quantiles import MEDIAN
from forecaster.series.baselines import seasonal_naive
from forecaster.series.panel import Panel
from forecaster.series.windows import Windows, gather

LOWER, UPPER = QUANTILE_LEVELS.index(0.1), QUANTILE_LEVELS.index(0.9)

BATCH = 1024
MOST_WINDOWS = 4096
"""Enough to judge a model; more would only cost time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Accuracy over all points of the validation windows (`forecaster.series.accuracy`)."""

    mase: float
    seasonal_naive_mase: float
    wql: float
    coverage_80: float


def validate(network: AttentionLSTM, panel: Panel, cutoffs: int) -> Scores | None:
    """Score the last `cutoffs` windows of `panel`, one prediction length after the other.

    The panel's scale is each series' seasonal error, so an absolute error in its units is a scaled
    error. Returns None where no value can be judged.
    """
    network.eval()
    sums = torch.zeros(6, dtype=torch.float64, device=panel.deviations.device)
    with torch.inference_mode():
        for windows in _windows(network, panel, cutoffs):
            sums += _sums(network, panel, windows)
    points, error, naive_error, covered, loss, size = sums.tolist()
    if not points:
        return None
    return Scores(
        mase=error / points,
        seasonal_naive_mase=naive_error / points,
        wql=loss / size if size else 0.0,
        coverage_80=covered / points,
    )


def _windows(network: AttentionLSTM, panel: Panel, cutoffs: int) -> Iterator[Windows]:
    spec, device = network.spec, panel.deviations.device
    last = panel.end - spec.prediction_length * torch.arange(1, cutoffs + 1, device=device)
    pairs = torch.cartesian_prod(last, torch.arange(len(panel), device=device))
    stride = max(1, -(-len(pairs) // MOST_WINDOWS))
    for chunk in pairs[::stride].split(BATCH):
        yield gather(panel, chunk[:, 1], chunk[:, 0], spec.context_length, spec.prediction_length)


def _sums(network: AttentionLSTM, panel: Panel, windows: Windows) -> Tensor:
    """Return points, absolute error, naive error, covered, pinball and size of the actuals."""
    output, target = network(windows.context), windows.target
    assert target is not None
    naive = seasonal_naive(windows.context, target.shape[1], network.spec.season_length)
    observed = target.isfinite() & naive.isfinite()
    actual, rows = torch.where(observed, target, 0.0), windows.rows.cpu()
    deviations = output.deviations * observed[..., None]
    error = (actual - output.level[:, None]) * observed
    low, high = deviations[..., LOWER], deviations[..., UPPER]
    scale = panel.scale[rows].to(actual.device)[:, None]
    value = panel.offset[rows].to(actual.device)[:, None] + scale * actual
    sums = (
        observed,
        (error - deviations[..., MEDIAN]).abs(),
        (actual - naive.nan_to_num()).abs() * observed,
        observed & (low <= error) & (error <= high),
        2 * pinball(deviations, error).mean(2) * scale,
        value.abs() * observed,
    )
    return torch.stack([part.double().sum() for part in sums])
