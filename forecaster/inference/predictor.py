"""Inference: a model, what was observed and the cutoffs in; forecasts and their attention out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import torch
from torch import Tensor

from forecaster.data.panel import Panel, PanelCounts, build, from_values
from forecaster.data.windows import Windows, gather
from forecaster.errors import SkipReason
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.device import LARGEST_BATCH, Runner, choose_device
from forecaster.inference.eligibility import FORECAST, REASONS, classify
from forecaster.inference.naive_fallback import served
from forecaster.inference.prediction import Prediction
from forecaster.inference.to_frames import Bounds, Numbers, concatenate, in_units


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Forecasts of the series of one panel."""

    keys: pl.DataFrame
    numbers: Sequence[Numbers]
    left_out: pl.DataFrame
    counts: PanelCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """B contexts, each of some series at some cutoff, in the units of the data.

    series_ids  (B,) whose it is
    ends        (B,) int64, grid indices of the cutoffs
    values      (B, L) float64, NaN where nothing was observed; L is the model's context length
    """

    series_ids: Sequence[str]
    ends: Tensor
    values: Tensor


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
        raise ValueError("at least one cutoff is required, found none")
    panel = build(
        observations,
        grid,
        season_length=spec.season_length,
        start=ends[0] - spec.context_length + 1,
        end=ends[-1],
        scales=model.series_scale,
    )
    expected = observations["series_id"].unique()
    return predict_panels(
        model, [panel], ends, bounds=(lower_bound, upper_bound), device=device, expected=expected
    )


def predict_panels(
    model: TrainedModel,
    panels: Iterable[Panel],
    ends: Sequence[int],
    *,
    bounds: Bounds,
    device: str = "auto",
    expected: Iterable[str] = (),
) -> Prediction:
    """Forecast every series of `panels` at the grid indices `ends`; see `predict`.

    A panel is a block of series, in ascending order, and has the columns of all contexts. Series
    of `expected` and of the model that are in no panel have no data.
    """
    run = Runner(model.network, choose_device(device))
    parts = []
    for panel in panels:
        pairs = torch.cartesian_prod(torch.arange(len(panel)), torch.tensor(ends)).view(-1, 2)
        numbers, outcomes = _forecast(model, run, panel, _windows(model, panel, pairs), bounds)
        keys = _keys(model, panel, pairs[outcomes == FORECAST])
        left_out = _left_out(panel, pairs, outcomes)
        parts.append(_Part(keys=keys, numbers=numbers, left_out=left_out, counts=panel.counts))
    wanted = pl.Series("series_id", [*expected, *model.series_scale], dtype=pl.String)
    seen = [frame["series_id"] for part in parts for frame in (part.keys, part.left_out)]
    left_out = _without_data(wanted, pl.concat([wanted.clear(), *seen]), ends)
    return Prediction(
        spec=model.spec,
        ends=tuple(ends),
        keys=pl.concat([part.keys for part in parts]),
        numbers=concatenate([numbers for part in parts for numbers in part.numbers]),
        is_explained=model.fallback is None,
        left_out=pl.concat([left_out, *(part.left_out for part in parts)]),
        panel_counts=sum((part.counts for part in parts), PanelCounts()),
    )


def predict_contexts(
    model: TrainedModel, contexts: Contexts, *, bounds: Bounds, device: str = "auto"
) -> Prediction:
    """Forecast from every context, as `predict_panels` does from a panel that ends at its cutoff.

    `keys` and `left_out` have a further column, `context`: which of them a forecast is of.
    """
    spec, ends = model.spec, contexts.ends
    panel = from_values(
        contexts.values,
        spec.grid(),
        tuple(contexts.series_ids),
        0,
        season_length=spec.season_length,
        scales=model.series_scale,
    )
    rows = torch.arange(len(panel))
    windows = (
        Windows(
            context=panel.deviations[chunk],
            target=None,
            scale=torch.ones(len(chunk)),
            rows=chunk,
            cutoffs=ends[chunk],
        )
        for chunk in _chunks(rows)
    )
    run = Runner(model.network, choose_device(device))
    numbers, outcomes = _forecast(model, run, panel, windows, bounds)
    pairs, is_made = torch.stack((rows, ends), 1), outcomes == FORECAST
    made, failed = (
        pl.Series("context", rows[chosen].numpy(), dtype=pl.Int64) for chosen in (is_made, ~is_made)
    )
    return Prediction(
        spec=spec,
        ends=tuple(ends.unique().tolist()),
        keys=_keys(model, panel, pairs[is_made]).with_columns(made),
        numbers=concatenate(numbers),
        is_explained=model.fallback is None,
        left_out=_left_out(panel, pairs, outcomes).with_columns(failed),
        panel_counts=panel.counts,
    )


def _without_data(wanted: pl.Series, seen: pl.Series, ends: Sequence[int]) -> pl.DataFrame:
    """Return series_id, `end` and reason of the series that are in no panel, sorted by key."""
    unseen = wanted.unique().to_frame().join(seen.to_frame(), on="series_id", how="anti")
    return (
        unseen.sort("series_id")
        .join(pl.DataFrame({"end": pl.Series(list(ends), dtype=pl.Int64)}), how="cross")
        .with_columns(reason=pl.lit(SkipReason.NO_DATA.value))
    )


def _windows(model: TrainedModel, panel: Panel, pairs: Tensor) -> Iterator[Windows]:
    """Yield the contexts of pairs (B, 2) of rows and cutoffs, a batch at a time."""
    length = model.spec.context_length
    return (gather(panel, chunk[:, 0], chunk[:, 1], length) for chunk in _chunks(pairs))


def _chunks(rows: Tensor) -> Sequence[Tensor]:
    """Cut rows into batches; no rows are one batch, so that no forecast has the usual shapes."""
    return rows.split(LARGEST_BATCH) if len(rows) else (rows,)


def _forecast(
    model: TrainedModel, run: Runner, panel: Panel, batches: Iterable[Windows], bounds: Bounds
) -> tuple[list[Numbers], Tensor]:
    """Forecast windows of `panel`; return those that succeed, and the outcomes of all (B,)."""
    parts, outcomes = [], []
    for windows in batches:
        outcome = classify(windows, model.spec)
        chosen = (outcome == FORECAST).nonzero()[:, 0]
        rows, context = windows.rows[chosen], windows.context[chosen]
        output = served(run(context, windows.cutoffs[chosen]), context, model.fallback, model.spec)
        numbers = in_units(output, panel.offset[rows], panel.scale[rows], bounds)
        finite = numbers.finite()
        outcome[chosen[~finite]] = REASONS.index(SkipReason.NON_FINITE)
        parts.append(numbers if finite.all() else numbers.select(finite))
        outcomes.append(outcome)
    return parts, torch.cat(outcomes)


def _keys(model: TrainedModel, panel: Panel, pairs: Tensor) -> pl.DataFrame:
    """Return series_id, status, no hindsight and the cutoff's grid index of each forecast."""
    known = [series_id in model.series_scale for series_id in panel.series_ids]
    series = pl.DataFrame(
        {"series_id": pl.Series(panel.series_ids, dtype=pl.String), "known": known},
        schema_overrides={"known": pl.Boolean},
    )
    status = pl.when("known").then(pl.lit("ok")).otherwise(pl.lit("cold_start"))
    if model.fallback is not None:
        status = pl.lit("fallback_naive")
    keys = series.select("series_id", status.alias("status"), hindsight=pl.lit(value=False))
    chosen = keys[pairs[:, 0].numpy()]
    return chosen.with_columns(pl.Series("end", pairs[:, 1].numpy(), dtype=pl.Int64))


def _left_out(panel: Panel, pairs: Tensor, outcomes: Tensor) -> pl.DataFrame:
    """Return series_id, `end` and reason of the pairs (B, 2) of rows and cutoffs that failed."""
    failed = outcomes != FORECAST
    rows, ends = pairs[failed].unbind(1)
    series_ids = pl.Series(panel.series_ids, dtype=pl.String)
    reasons = pl.Series([reason.value for reason in REASONS], dtype=pl.String)
    return pl.DataFrame(
        {
            "series_id": series_ids.gather(rows.numpy()),
            "end": pl.Series(ends.numpy(), dtype=pl.Int64),
            "reason": reasons.gather(outcomes[failed].numpy()),
        }
    )
