"""Backtest: rolling origins through the windows that training and live forecasts see.

Window chunk by window chunk: every predictor forecasts the same windows, and only sums per
predictor, series and lead are kept, so memory does not grow with the number of cutoffs.
Definitions are those of `forecaster.evaluation.metrics`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import polars as pl
import torch
from torch import Tensor

from forecaster.baselines.naive import seasonal_naive
from forecaster.data.panel import Panel, constant_series
from forecaster.data.windows import Windows, gather
from forecaster.evaluation.metrics import leads, summarise
from forecaster.network.output_heads import pinball
from forecaster.schemas import QUANTILE_LEVELS

Predictor: TypeAlias = Callable[[Windows], Tensor]
"""Windows without targets to quantiles (B, H, Q), ascending, in the panel's deviation units.

NaN where there is no forecast: such a point is scored for no predictor, and counted."""

PointForecast: TypeAlias = Callable[[Tensor], Tensor]
"""Contexts (B, L) to points (B, H), as a naive forecast of some length."""

_MOST_WINDOWS, _MOST_POINTS, _MOST_VALUES = 1024, 2**18, 2**21
"""Of a chunk: enough for full speed, and little memory at any length ahead and back."""

_ROUNDING = 1e-6
"""An error of a smaller share of its scale is none in smape, where all that counts is relative."""

_COUNTS = ("points", "covered_50", "covered_80", "covered_95")
_SUMS = (
    *_COUNTS,
    "absolute_error",
    "seasonal_naive_error",
    "bias",
    "pinball",
    "absolute_actual",
    "width_80",
    "smape",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """Accuracy of each predictor, on the same points for all of them."""

    sums: pl.DataFrame
    """Per predictor, series_id and lead: the sums of ACCURACY, and `smape` in percent."""
    missing: Mapping[str, int]
    """Points that could not be scored because this predictor had no finite forecast."""
    windows: int
    """Of which at least one point was scored."""

    def overall(self) -> pl.DataFrame:
        """Return one row per predictor; no rows where nothing was scored.

        The columns of `summarise`, smape, and mae: over all points, in the units of the data.
        """
        return self.by()

    def by_lead(self) -> pl.DataFrame:
        """Return one row per predictor and lead, the nearest first."""
        return self.by("lead")

    def by_series(self) -> pl.DataFrame:
        """Return one row per predictor and series."""
        return self.by("series_id")

    def of(self, predictor: str) -> Mapping[str, float] | None:
        """Return the accuracy of one predictor by name; None where nothing was scored."""
        rows = self.overall().filter(pl.col("predictor") == predictor).to_dicts()
        return rows[0] if rows else None

    def by(self, *keys: str) -> pl.DataFrame:
        """Return one row per predictor and `keys`, which are series_id and lead."""
        by = ("predictor", *keys)
        per_series = self.sums.group_by(
            [*dict.fromkeys((*by, "series_id"))], maintain_order=True
        ).agg(pl.col("smape").sum() / pl.col("points").sum())
        smape = per_series.group_by(by, maintain_order=True).agg(pl.col("smape").mean())
        error = pl.col("absolute_error").sum() / pl.col("points").sum()
        mae = self.sums.group_by(by, maintain_order=True).agg(mae=error)
        summary = summarise(self.sums, by).join(smape, on=by, maintain_order="left")
        return summary.join(mae, on=by, maintain_order="left")


def backtest(
    predictors: Mapping[str, Predictor],
    panel: Panel,
    cutoffs: Sequence[int] | Tensor,
    *,
    context_length: int,
    prediction_length: int,
    season_length: int,
) -> Backtest:
    """Let every predictor forecast `panel` at `cutoffs`, and sum up their errors.

    `cutoffs` are grid indices (C,), each for every series, or pairs (W, 2) of a row and its
    cutoff. Predictors get contexts of `context_length` steps and no targets. Seasonal naive, the
    reference, may look back over a whole season. An error is scaled by the scale of its series in
    the panel, so `build(…, scales=…)` sets the denominator of MASE.
    """
    pairs = _pairs(panel, cutoffs)
    tally = _Sums(panel, tuple(predictors), prediction_length)
    lookback = max(context_length, season_length)
    with torch.inference_mode():
        for chunk in pairs.split(_chunk(lookback, prediction_length)):
            windows = gather(panel, chunk[:, 0], chunk[:, 1], lookback, prediction_length)
            reference = seasonal_naive(windows.context, prediction_length, season_length)
            context = windows.context[:, lookback - context_length :]
            seen = replace(windows, context=context, target=None)
            tally.add(windows, reference, [predict(seen) for predict in predictors.values()])
    return Backtest(sums=tally.frame(), missing=tally.missing(), windows=tally.windows)


def joined(parts: Sequence[Backtest]) -> Backtest:
    """Return several backtests of the same predictors as one: each row keeps its own scale."""
    return Backtest(
        sums=pl.concat([part.sums for part in parts]),
        missing={name: sum(part.missing[name] for part in parts) for name in parts[0].missing},
        windows=sum(part.windows for part in parts),
    )


def _chunk(lookback: int, prediction_length: int) -> int:
    """Return how many windows are looked at together."""
    room = min(_MOST_POINTS // prediction_length, _MOST_VALUES // (lookback + prediction_length))
    return max(1, min(_MOST_WINDOWS, room))


def points(forecast: PointForecast) -> Predictor:
    """Return a point forecast as a predictor: every quantile is its point."""

    def predict(windows: Windows) -> Tensor:
        return forecast(windows.context)[..., None].expand(-1, -1, len(QUANTILE_LEVELS))

    return predict


def _pairs(panel: Panel, cutoffs: Sequence[int] | Tensor) -> Tensor:
    """Return rows and cutoffs (W, 2) on the device of the panel."""
    device = panel.deviations.device
    indices = torch.as_tensor(cutoffs, dtype=torch.int64, device=device)
    if indices.dim() == 2:
        return indices
    rows = torch.arange(len(panel), device=device)
    return torch.cartesian_prod(indices, rows).view(-1, 2).flip(1)


class _Sums:
    """Sums over the points that all predictors have in common."""

    def __init__(self, panel: Panel, predictors: tuple[str, ...], prediction_length: int) -> None:
        device = panel.deviations.device
        self._panel, self._predictors = panel, predictors
        self._leads = leads(prediction_length)
        step = torch.arange(1, prediction_length + 1, device=device)
        inside = [(lead.step_from <= step) & (step <= lead.step_to) for lead in self._leads]
        self._lead_of_step = torch.stack(inside, 1).double()  # (H, leads)
        self._offset, self._scale = panel.offset.to(device), panel.scale.to(device)
        self._rounding = torch.where(constant_series(panel), 1.0, _ROUNDING).float().to(device)
        self.windows = 0
        shape = (len(predictors), len(_SUMS), len(panel), len(self._leads))
        self._sums = torch.zeros(shape, dtype=torch.float64, device=device)
        self._missing = torch.zeros(len(predictors), dtype=torch.int64, device=device)

    def add(self, windows: Windows, reference: Tensor, forecasts: Sequence[Tensor]) -> None:
        """Add the forecasts (B, H, Q) of all predictors for the same windows."""
        assert windows.target is not None
        known = windows.target.isfinite() & reference.isfinite()
        finite = [known & quantiles.isfinite().all(2) for quantiles in forecasts]
        for place, is_finite in enumerate(finite):
            self._missing[place] += (known & ~is_finite).sum()
            known = known & is_finite
        self.windows += int(known.any(1).sum())
        for place, quantiles in enumerate(forecasts):
            sums = self._of_points(quantiles, windows, reference, known) @ self._lead_of_step
            self._sums[place].index_add_(1, windows.rows, sums)

    def _of_points(
        self, quantiles: Tensor, windows: Windows, reference: Tensor, known: Tensor
    ) -> Tensor:
        """Return (sums, B, H) float64 in the units of the data, zero where not `known`.

        Differences are taken before the offset is added: a counter near 1e10 keeps its errors.
        """
        assert windows.target is not None
        target = windows.target
        scale, offset = (part[windows.rows, None] for part in (self._scale, self._offset))
        level = dict(zip(QUANTILE_LEVELS, quantiles.unbind(2), strict=True))
        error, actual = level[0.5] - target, offset + scale * target
        counting = error.abs() > self._rounding[windows.rows, None]
        size = actual.abs() + (offset + scale * level[0.5]).abs()
        low_50, high_50 = (level[0.2] + level[0.3]) / 2, (level[0.7] + level[0.8]) / 2
        parts = {
            "points": torch.ones_like(target),
            "covered_50": _inside(target, low_50, high_50),
            "covered_80": _inside(target, level[0.1], level[0.9]),
            "covered_95": _inside(target, level[0.025], level[0.975]),
            "absolute_error": error.abs() * scale,
            "seasonal_naive_error": (reference - target).abs() * scale,
            "bias": error * scale,
            "pinball": pinball(quantiles, target).sum(2) * scale,
            "absolute_actual": actual.abs(),
            "width_80": (level[0.9] - level[0.1]) * scale,
            "smape": 200 * counting * error.abs() * scale / torch.where(size == 0, 1.0, size),
        }
        return torch.stack([torch.where(known, parts[name].double(), 0.0) for name in _SUMS])

    def missing(self) -> dict[str, int]:
        return dict(zip(self._predictors, self._missing.tolist(), strict=True))

    def frame(self) -> pl.DataFrame:
        """Return one row per predictor, series and lead that has points, in this order."""
        names = [lead.name for lead in self._leads]
        keys = [
            pl.DataFrame({column: pl.Series(values, dtype=dtype)})
            for column, values, dtype in (
                ("predictor", self._predictors, pl.Enum(self._predictors)),
                ("series_id", self._panel.series_ids, pl.String),
                ("lead", names, pl.Enum(names)),
            )
        ]
        index = keys[0].join(keys[1], how="cross").join(keys[2], how="cross")
        sums = self._sums.movedim(1, -1).reshape(-1, len(_SUMS)).cpu().numpy()
        scale = self._panel.scale.repeat_interleave(len(names)).repeat(len(self._predictors))
        return (
            index.with_columns(pl.Series("scale", scale.numpy()))
            .hstack(pl.DataFrame(sums, schema=dict.fromkeys(_SUMS, pl.Float64)))
            .filter(pl.col("points") > 0)
            .with_columns(pl.col(_COUNTS).cast(pl.Int64))
        )


def _inside(target: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return (low <= target) & (target <= high)
