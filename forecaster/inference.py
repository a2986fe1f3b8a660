"""Inference: a model, what was observed and the cutoffs in; forecasts and their attention out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from forecaster.model.spec import ModelSpec
from forecaster.series.panel import Panel, PanelCounts, build
from forecaster.series.windows import gather


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says at some cutoffs: numbers first, frames when asked for."""

    spec: ModelSpec
    ends: tuple[int, ...]
    """Grid indices of the cutoffs."""
    keys: pl.DataFrame
    """series_id, status and the cutoff's grid index `end`: one row per forecast, sorted."""
    numbers: Numbers
    is_explained: bool
    """Whether there is attention: none where a naive forecast serves."""
    skipped: dict[str, SkipReason]
    """Series without a forecast at any of the cutoffs, and why not at the last one."""
    panel_counts: PanelCounts

    @property
    def forecasts(self) -> pl.DataFrame:
        """FORECASTS, sorted by series_id, cutoff and step."""
        return forecasts_frame(self.numbers, self.keys, self.spec)

    @property
    def attention(self) -> pl.DataFrame:
        """ATTENTION, sorted by series_id, cutoff and step_from."""
        frame = attention_frame(self.numbers, self.keys, self.spec)
        return frame if self.is_explained else frame.clear()

    @property
    def patches(self) -> pl.DataFrame:
        """PATCHES of every cutoff; none without attention."""
        frame = patches_frame(list(self.ends), self.spec)
        return frame if self.is_explained else frame.clear()

    def select(self, kept: pl.Series) -> "Prediction":
        """Return the forecasts where `kept` is true."""
        chosen = torch.from_numpy(kept.to_numpy(writable=True))
        return replace(self, keys=self.keys.filter(kept), numbers=self.numbers.select(chosen))

    def with_status(self, status: str) -> "Prediction":
        """Return the same forecasts with another status."""
        return replace(self, keys=self.keys.with_columns(status=pl.lit(status)))

    def blocks(self, size: int) -> Iterator["Prediction"]:
        """Return the forecasts in turn, `size` at a time: their frames take much more memory."""
        for first in range(0, self.keys.height, size):
            part = slice(first, first + size)
            yield replace(self, keys=self.keys[part], numbers=self.numbers.select(part))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What is said of the series of one panel."""

    keys: pl.DataFrame
    numbers: Numbers
    skipped: dict[str, SkipReason]
    counts: PanelCounts


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
    everyone = observations["series_id"].unique()
    return predict_panels(
        model, [panel], ends, bounds=(lower_bound, upper_bound), device=device, everyone=everyone
    )


def predict_panels(
    model: TrainedModel,
    panels: Iterable[Panel],
    ends: Sequence[int],
    *,
    bounds: Bounds,
    device: str = "auto",
    everyone: Iterable[str] = (),
) -> Prediction:
    """Forecast every series of `panels` at the grid indices `ends`; see `predict`.

    A panel is a block of series, in ascending order, and has the columns of all contexts. Series
    of `everyone` and of the model that are in no panel have no data.
    """
    run = Runner(model.network, choose_device(device))
    parts = [_predict(model, run, panel, ends, bounds) for panel in panels]
    reasons = {name: reason for part in parts for name, reason in part.skipped.items()}
    seen = {*reasons, *(name for part in parts for name in part.keys["series_id"].unique())}
    unseen = {*everyone, *model.series_scale} - seen
    return Prediction(
        spec=model.spec,
        ends=tuple(ends),
        keys=pl.concat([part.keys for part in parts]),
        numbers=concatenate([part.numbers for part in parts]),
        is_explained=model.fallback is None,
        skipped=dict.fromkeys(sorted(unseen), SkipReason.NO_DATA) | reasons,
        panel_counts=sum((part.counts for part in parts), PanelCounts()),
    )


def _predict(
    model: TrainedModel, run: Runner, panel: Panel, ends: Sequence[int], bounds: Bounds
) -> _Part:
    pairs = torch.cartesian_prod(torch.arange(len(panel)), torch.tensor(ends)).view(-1, 2)
    numbers, outcomes = _forecast(model, run, panel, pairs, bounds)
    return _Part(
        keys=_keys(model, panel, pairs[outcomes == FORECAST]),
        numbers=numbers,
        skipped=_skipped(panel, outcomes.view(len(panel), len(ends))),
        counts=panel.counts,
    )


def _forecast(
    model: TrainedModel, run: Runner, panel: Panel, pairs: Tensor, bounds: Bounds
) -> tuple[Numbers, Tensor]:
    """Forecast the windows (row, cutoff) of `pairs`; return those that succeed, and all outcomes.

    An empty batch runs too, so that the shapes of no forecast at all come from the same code.
    """
    parts, outcomes = [], []
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


def _skipped(panel: Panel, outcomes: Tensor) -> dict[str, SkipReason]:
    """Return why each series that has no forecast in its row of `outcomes` (N, C) has none."""
    rows = (outcomes != FORECAST).all(1).nonzero()[:, 0].tolist()
    return {panel.series_ids[row]: REASONS[int(outcomes[row, -1])] for row in rows}
