"""Which series an experiment can test, and why not the others: known before anything is trained."""

import torch
from torch import Tensor

from forecaster.data.panel import Panel
from forecaster.data.windows import gather
from forecaster.errors import SkipReason
from forecaster.inference.eligibility import FORECAST, REASONS, classify
from forecaster.network.spec import ModelSpec

NOT_KNOWN, ENDED, NOTHING_TO_SCORE = "no_data_before", "ended", "nothing_to_judge"
"""Why a series with windows is not tested, beside the reasons of a tick."""
_MOST_VALUES = 2**21


def untested(panel: Panel, pairs: Tensor, spec: ModelSpec) -> dict[str, str]:
    """Return the series that no window of `pairs` (W, 2), row and cutoff, can test, and why.

    `panel` holds what came after the cutoffs too. A window tests its series where the context can
    be forecast from and something was observed after it. The reason is that of the oldest window.
    """
    reasons: dict[int, str] = {}
    tested: set[int] = set()
    chunk_size = max(1, _MOST_VALUES // (spec.context_length + spec.prediction_length))
    for chunk in pairs.split(chunk_size):
        rows, cutoffs = chunk.unbind(1)
        windows = gather(panel, rows, cutoffs, spec.context_length, spec.prediction_length)
        assert windows.target is not None
        outcomes, seen = classify(windows, spec), windows.target.isfinite().any(1)
        tested |= set(rows[(outcomes == FORECAST) & seen].tolist())
        for row, outcome in zip(rows.tolist(), outcomes.tolist(), strict=True):
            reasons.setdefault(row, NOTHING_TO_SCORE if outcome == FORECAST else REASONS[outcome])
    none = torch.full((len(panel),), torch.iinfo(torch.int64).max)
    first, last = none.scatter_reduce(0, pairs[:, 0], pairs[:, 1], "amin"), last_cells(panel)
    return {
        panel.series_ids[row]: _reason(reason, int(first[row]), int(last[row]), panel.start)
        for row, reason in sorted(reasons.items())
        if row not in tested
    }


def _reason(reason: str, first: int, last: int, start: int) -> str:
    """Return the reason; a series that ends before its windows has its own."""
    if start <= last <= first:
        return ENDED
    gone = reason == SkipReason.NO_DATA.value and last >= start
    return SkipReason.STALE.value if gone else str(reason)


def last_cells(panel: Panel) -> Tensor:
    """Return the last observed cell (N,) of each series, before the panel where there is none."""
    places = torch.arange(1, panel.length + 1).where(panel.deviations.isfinite(), 0)
    return panel.start - 1 + places.amax(1)
