"""Rows of forecasts, one for each step, as the arrays that the store keeps."""

import polars as pl

from forecaster.schemas import (
    DEVIATION_COLUMNS,
    FORECAST_ARRAYS,
    PART_COLUMNS,
    STEPS,
    conform,
)


def arrays_of(frame: pl.DataFrame) -> pl.DataFrame:
    """FORECAST_ARRAYS of FORECASTS without closed steps."""
    ordered = frame.sort("series_id", "cutoff", "step")
    grouped = ordered.group_by("series_id", "cutoff", maintain_order=True).agg(
        pl.col("status", "hindsight", "level").first(),
        _array("parts", PART_COLUMNS),
        _array("deviations", DEVIATION_COLUMNS),
    )
    return conform(grouped, FORECAST_ARRAYS)


def steps_of(frame: pl.DataFrame) -> pl.DataFrame:
    """STEPS of FORECASTS."""
    return frame.select(STEPS.names()).unique().sort("cutoff", "timestamp")


def _array(name: str, columns: tuple[str, ...]) -> pl.Expr:
    return pl.concat_list(columns).list.to_array(len(columns)).alias(name)
