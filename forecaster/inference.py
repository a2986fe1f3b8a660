"""Inference: a model, what was observed and the cutoffs in; forecasts and their attention out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import torch
from torch import Tensor

from forecaster.errors import SkipReason
from forecaster.model.checkpoint import TrainedModel
from forecaster.model.device import LARGEST_BATCH, Runner, choose_device
from forecaster.model.eligibility import FORECAST, REASONS, judge
from forecaster.model.fallback import served
from forecaster.model.publishing import (
    Bounds,
    Numbers,
    attention_frame,
    concatenate,
    forecasts_frame,
    in_units,
    patches_frame,
)
from forecaster.series.panel import Panel, PanelCounts, build
from forecaster.series.windows import gather


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says at some cutoffs."""

    forecasts: pl.DataFrame
    """FORECASTS, sorted by series_id, cutoff and step."""
    attention: pl.DataFrame
    """ATTENTION, sorted by series_id, cutoff and step_from."""
    patches: pl.DataFrame
    """PATCHES of every cutoff; none where a naive forecast serves, as there is no attention."""
    skipped: dict[str, SkipReason]
    """Series without a forecast at any of the cutoffs, and why not at the last one."""
    panel_counts: PanelCounts


def predict(
    model: TrainedModel,
    observations: pl.DataFrame,
    cutoffs: Sequence[datetime],
    *,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    device: str = "auto",
) -> Prediction:
    """Forecast every series of OBSERVATIONS at every cutoff, floored to the model's grid.

    Nothing after the cell of a cutoff reaches its forecast. A series that cannot be forecast is
    skipped with a reason, one that the model was not trained on has the status `cold_start`.
    Where a naive forecast serves in place of the network, every status is `fallback_naive`, that of
    new series too, and there is no attention: no weight of the network made these numbers.
    Bounds clip every quantile; what that does to the median is its `adjustment`.

    Raises ValueError without cutoffs.
    """
    spec, grid = model.spec, model.spec.grid()
    ends = sorted({grid.index_at(cutoff) for cutoff in cutoffs})
    if not ends:
        raise ValueError("at least one cutoff must be given, found none")
    panel = build(
        observations,
        grid,
        season_length=spec.season_length,
        start=ends[0] - spec.context_length + 1,
        end=ends[-1],
        scales=model.series_scale,
    )
    pairs = torch.cartesian_prod(torch.arange(len(panel)), torch.tensor(ends)).view(-1, 2)
    numbers, outcomes = _forecast(
        model, panel, pairs, (lower_bound, upper_bound), choose_device(device)
    )
    keys = _keys(model, panel, pairs[outcomes == FORECAST])
    attention, patches = attention_frame(numbers, keys, spec), patches_frame(ends, spec)
    explained = model.fallback is None
    everyone = {*observations["series_id"].unique(), *model.series_scale}
    return Prediction(
        forecasts=forecasts_frame(numbers, keys, spec),
        attention=attention if explained else attention.clear(),
        patches=patches if explained else patches.clear(),
        skipped=_skipped(everyone, panel, outcomes.view(len(panel), len(ends))),
        panel_counts=panel.counts,
    )


def _forecast(
    model: TrainedModel, panel: Panel, pairs: Tensor, bounds: Bounds, device: torch.device
) -> tuple[Numbers, Tensor]:
    """Forecast the windows (row, cutoff) of `pairs`; return those that succeed, and all outcomes.

    An empty batch runs too, so that the shapes of no forecast at all come from the same code.
    """
    run, parts, outcomes = Runner(model.network, device), [], []
    for chunk in pairs.split(LARGEST_BATCH) if len(pairs) else (pairs,):
        windows = gather(panel, chunk[:, 0], chunk[:, 1], model.spec.context_length)
        outcome = judge(windows.context, model.spec)
        chosen = (outcome == FORECAST).nonzero()[:, 0]
        rows, context = windows.rows[chosen], windows.context[chosen]
        output = served(run(context, windows.cutoffs[chosen]), context, model.fallback, model.spec)
        numbers = in_units(output, panel.offset[rows], panel.scale[rows], bounds)
        finite = numbers.finite()
        outcome[chosen[~finite]] = REASONS.index(SkipReason.NON_FINITE)
        parts.append(numbers.select(finite))
        outcomes.append(outcome)
    return concatenate(parts), torch.cat(outcomes)


def _keys(model: TrainedModel, panel: Panel, pairs: Tensor) -> pl.DataFrame:
    """Return series_id, status and the cutoff's grid index of each forecast."""
    known = [series_id in model.series_scale for series_id in panel.series_ids]
    series = pl.DataFrame(
        {"series_id": pl.Series(panel.series_ids, dtype=pl.String), "known": known},
        schema_overrides={"known": pl.Boolean},
    )
    status = pl.when("known").then(pl.lit("ok")).otherwise(pl.lit("cold_start"))
    if model.fallback is not None:
        status = pl.lit("fallback_naive")
    chosen = series.select("series_id", status.alias("status"))[pairs[:, 0].numpy()]
    return chosen.with_columns(pl.Series("end", pairs[:, 1].numpy(), dtype=pl.Int64))


def _skipped(everyone: set[str], panel: Panel, outcomes: Tensor) -> dict[str, SkipReason]:
    """Return why each series that has no forecast in its row of `outcomes` (N, C) has none."""
    reasons = dict.fromkeys(sorted(everyone - set(panel.series_ids)), SkipReason.NO_DATA)
    for row in (outcomes != FORECAST).all(1).nonzero()[:, 0].tolist():
        reasons[panel.series_ids[row]] = REASONS[int(outcomes[row, -1])]
    return reasons
