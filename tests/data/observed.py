"""Observations made by hand or read from the shared data, for the tests of this room."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from forecaster.schemas import INSTANT, OBSERVATIONS

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def observed(
    series: Mapping[str, Sequence[float | None]],
    *,
    first: datetime = MONDAY,
    every: timedelta = HOUR,
) -> pl.DataFrame:
    """One row for each value, NaN and null included, evenly spaced."""
    rows = [
        (series_id, first + every * position, value)
        for series_id, values in sorted(series.items())
        for position, value in enumerate(values)
    ]
    return pl.DataFrame(rows, schema=OBSERVATIONS, orient="row")


def shared_series(path: Path) -> pl.DataFrame:
    """The series of a shared parquet file as OBSERVATIONS, local times read as UTC."""
    return (
        pl.read_parquet(path)
        .select(
            "series_id",
            pl.col("ts").dt.replace_time_zone("UTC").cast(INSTANT).alias("timestamp"),
            "value",
        )
        .sort("series_id", "timestamp")
    )
