"""Declared frames: what packages exchange, column by column.

Instants are UTC with microseconds. A forecast's numbers are 32-bit deviations from a 64-bit
`level`, so that a counter near 1e10 keeps its small changes; `level + d50` is the median.
"""

from collections.abc import Mapping

import polars as pl

from forecaster.errors import SchemaMismatch

INSTANT = pl.Datetime("us", "UTC")

QUANTILE_LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
"""Quantile levels of every stored forecast."""

QUANTILE_COLUMNS = (
    "q025", "q05", "q10", "q20", "q30", "q40", "q50", "q60", "q70", "q80", "q90", "q95", "q975",
)  # fmt: skip
DEVIATION_COLUMNS = tuple("d" + name[1:] for name in QUANTILE_COLUMNS)
"""Quantiles as stored: the deviation from `level`."""

PART_COLUMNS = ("copied", "last_value", "residual", "adjustment")
"""With `level` they add up to the median."""

OBSERVATIONS = pl.Schema({"series_id": pl.String(), "timestamp": INSTANT, "value": pl.Float64()})
"""Observations, sorted by series_id and timestamp, one row for each; a null value is a gap."""

VERSIONS = pl.Schema(
    {
        "series_id": pl.Int32(),
        "timestamp": INSTANT,
        "recorded_at": INSTANT,
        "value": pl.Float64(),
    }
)
"""Observations and when they were recorded, under integer keys, sorted by the first three columns:
every version of a value, a null where it was retracted."""

FORECASTS = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "step": pl.Int32(),
        "timestamp": INSTANT,
        "status": pl.String(),
        "hindsight": pl.Boolean(),
        "level": pl.Float64(),
        **dict.fromkeys(PART_COLUMNS, pl.Float32()),
        **dict.fromkeys(DEVIATION_COLUMNS, pl.Float32()),
    }
)
"""Forecasts: one row per series, cutoff and step (1 … prediction_length)."""

FORECAST_ARRAYS = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "status": pl.String(),
        "hindsight": pl.Boolean(),
        "level": pl.Float64(),
        "parts": pl.List(pl.Array(pl.Float32(), len(PART_COLUMNS))),
        "deviations": pl.List(pl.Array(pl.Float32(), len(DEVIATION_COLUMNS))),
    }
)
"""The same forecasts as they are stored: one row per series and cutoff. `parts` and `deviations`
have an element for each step from 1 on, closed or not, of PART_COLUMNS and DEVIATION_COLUMNS."""

STEPS = pl.Schema({"cutoff": INSTANT, "timestamp": INSTANT, "step": pl.Int32()})
"""Timestamps of the open steps of a cutoff: they are the same for all series of a model."""

ATTENTION = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "step_from": pl.Int32(),
        "step_to": pl.Int32(),
        "weights": pl.List(pl.Float32()),
    }
)
"""Attention weights: one row per series, cutoff and future patch. `weights` holds the past patches
from oldest to newest, then the last value, then the level; they sum to 1."""

PATCHES = pl.Schema(
    {
        "cutoff": INSTANT,
        "patch": pl.Int32(),
        "context_from": INSTANT,
        "context_to": INSTANT,
    }
)
"""Periods of the past patches: 1 is the oldest; first and last point, both included."""

ACCURACY = pl.Schema(
    {
        "series_id": pl.String(),
        "cutoff": INSTANT,
        "lead": pl.String(),
        "points": pl.Int32(),
        "absolute_error": pl.Float64(),
        "seasonal_naive_error": pl.Float64(),
        "bias": pl.Float64(),
        "pinball": pl.Float64(),
        "absolute_actual": pl.Float64(),
        "scale": pl.Float64(),
        "covered_50": pl.Int32(),
        "covered_80": pl.Int32(),
        "covered_95": pl.Int32(),
        "width_80": pl.Float64(),
    }
)
"""Accuracy: sums over the `points` of one series, cutoff and lead that have an actual
and a seasonal-naive value. `scale` is the in-sample seasonal-naive error, so that
mase = absolute_error / points / scale; `pinball` is summed over points and quantile levels."""


def quantiles_of_level() -> list[pl.Expr]:
    """Return QUANTILE_COLUMNS (float64) of a frame that has `level` and DEVIATION_COLUMNS."""
    return [
        (pl.col("level") + pl.col(deviation)).alias(quantile)
        for quantile, deviation in zip(QUANTILE_COLUMNS, DEVIATION_COLUMNS, strict=True)
    ]


def conform(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return `frame` unchanged, or raise SchemaMismatch naming each column that differs."""
    expected, actual = dict(schema), dict(frame.schema)
    if list(expected.items()) == list(actual.items()):
        return frame
    differing = [
        f"column {name}: expected {expected.get(name)}, found {actual.get(name)}"
        for name in {**expected, **actual}
        if expected.get(name) != actual.get(name)
    ]
    raise SchemaMismatch("; ".join(differing) or f"expected columns in the order {list(expected)}")


def empty(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return a frame of the declared columns without rows."""
    return pl.DataFrame(schema=dict(schema))
