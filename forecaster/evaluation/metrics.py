"""Accuracy metrics: definitions, per-series sums, and summaries of the sums.

Exact definitions: M4 (Makridakis et al. 2020, "The M4 Competition: 100,000 time series and 61
forecasting methods", and its `Benchmarks and Evaluation.R`) for mase, smape and owa; GluonTS
(`gluonts.ev`) and GIFT-Eval for wql, there called mean weighted sum quantile loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from forecaster.schemas import ACCURACY, QUANTILE_COLUMNS, QUANTILE_LEVELS, conform

_MOST_LEADS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A bucket of steps ahead, both ends included; `name` is "1", "2-3", …"""

    name: str
    step_from: int
    step_to: int


def leads(prediction_length: int) -> tuple[Lead, ...]:
    """Split steps 1 … prediction_length into at most six leads: the first step, then growing.

    Each lead ends about twice as far ahead as the one before (further where six would not do).
    """
    if prediction_length < 1:
        raise ValueError(f"prediction length must be at least 1, found {prediction_length}")
    count = min(_MOST_LEADS, prediction_length.bit_length())
    ends = [round(prediction_length ** (k / max(count - 1, 1))) for k in range(count)]
    starts = [1, *(end + 1 for end in ends[:-1])]
    return tuple(
        Lead(name=str(start) if start == end else f"{start}-{end}", step_from=start, step_to=end)
        for start, end in zip(starts, ends, strict=True)
    )


def score(matured: pl.DataFrame, prediction_length: int) -> pl.DataFrame:
    """Return ACCURACY of forecasts joined with what happened.

    `matured` has one row per series_id, cutoff and step, with the quantile columns q025 … q975,
    `actual`, `seasonal_naive` and `scale` (> 0, one per series and cutoff). Rows without an
    actual or a seasonal-naive value are left out, so both are scored on the same points.
    The 50 % interval lies between the means of q20 and q30, and of q70 and q80.
    """
    known = pl.all_horizontal(pl.col("actual", "seasonal_naive").is_finite())
    scored = (
        matured.lazy()  # errors that several sums share are computed once
        .filter(known)
        .with_columns(_lead_name(prediction_length))
        .group_by("series_id", "cutoff", "lead")
        .agg(*_sums())
        .sort("series_id", "cutoff", "lead")
        .select(ACCURACY.names())
        .cast(ACCURACY)
    )
    return conform(scored.collect(), ACCURACY)


def _lead_name(prediction_length: int) -> pl.Expr:
    named = (
        pl.when(pl.col("step") <= lead.step_to).then(pl.lit(lead.name))
        for lead in leads(prediction_length)
    )
    return pl.coalesce(named).alias("lead")


def _sums() -> list[pl.Expr]:
    actual, median = pl.col("actual"), pl.col("q50")
    low_50, high_50 = (pl.col("q20") + pl.col("q30")) / 2, (pl.col("q70") + pl.col("q80")) / 2
    return [
        pl.len().alias("points"),
        (median - actual).abs().sum().alias("absolute_error"),
        (pl.col("seasonal_naive") - actual).abs().sum().alias("seasonal_naive_error"),
        (median - actual).sum().alias("bias"),
        pl.sum_horizontal(_pinball_sums()).alias("pinball"),
        actual.abs().sum().alias("absolute_actual"),
        pl.col("scale").first(),
        actual.is_between(low_50, high_50).sum().alias("covered_50"),
        actual.is_between(pl.col("q10"), pl.col("q90")).sum().alias("covered_80"),
        actual.is_between(pl.col("q025"), pl.col("q975")).sum().alias("covered_95"),
        (pl.col("q90") - pl.col("q10")).sum().alias("width_80"),
    ]


def _pinball_sums() -> list[pl.Expr]:
    sums = []
    for level, column in zip(QUANTILE_LEVELS, QUANTILE_COLUMNS, strict=True):
        error = pl.col("actual") - pl.col(column)
        sums.append(pl.max_horizontal(error * level, error * (level - 1)).sum())
    return sums


def summarise(accuracy: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Summarise ACCURACY rows per group of `by` columns (none: one row over everything).

    series, points      how many
    mase                mean over series of the mean absolute error in units of scale
    seasonal_naive_mase the same of seasonal naive, on the same points
    skill               1 - mase / seasonal_naive_mase: above 0 beats seasonal naive
    wql                 2 · pinball / levels / Σ|actual|, sums over all series (GluonTS)
    coverage_50 …       share of actuals inside the interval
    bias, width_80      mean over series of forecast - actual, and of q90 - q10, both in scales

    Sums are taken in the order of the rows: equal rows have equal summaries, to the last bit.
    """
    keys = list(dict.fromkeys([*by, "series_id"]))
    per_series = accuracy.group_by(keys, maintain_order=True).agg(
        pl.col("points").sum(),
        *(
            ((pl.col(column) / pl.col("scale")).sum() / pl.col("points").sum()).alias(name)
            for column, name in _SCALED.items()
        ),
        pl.col("pinball", "absolute_actual", "covered_50", "covered_80", "covered_95").sum(),
    )
    by_group = list(by) or pl.lit(0).alias("all")
    groups = per_series.group_by(by_group, maintain_order=True)
    summary = groups.agg(pl.len().alias("series"), *_summary()).with_columns(
        (1 - pl.col("mase") / pl.col("seasonal_naive_mase")).alias("skill")
    )
    return summary.sort(list(by)) if by else summary.drop("all")


_SCALED = {
    "absolute_error": "mase",
    "seasonal_naive_error": "seasonal_naive_mase",
    "bias": "bias",
    "width_80": "width_80",
}


def _summary() -> list[pl.Expr]:
    points = pl.col("points").sum()
    weight = 2 / len(QUANTILE_LEVELS)
    covered = [(pl.col(f"covered_{p}").sum() / points).alias(f"coverage_{p}") for p in (50, 80, 95)]
    return [
        points,
        pl.col(*_SCALED.values()).mean(),
        (weight * pl.col("pinball").sum() / pl.col("absolute_actual").sum()).alias("wql"),
        *covered,
    ]
