"""When the rows of a source arrived, by an `ingest_column` that holds instants."""

import polars as pl

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.ingestion.normalize import join_keys
from forecaster.ingestion.series_keys import key_text
from forecaster.ingestion.timestamps import read_instants
from forecaster.source.query import RowRange

_DATED = "^[0-9]{4}-"
"""Begins text that is a time and no number of a transaction or row."""


def arrivals_of(raw: pl.DataFrame, dataset: DatasetConfig, wanted: RowRange) -> pl.DataFrame | None:
    """Return series_id, timestamp and arrived of rows that were read with `arrivals`.

    None without rows or `ingest_column`, and where it holds no instants: numbers, or times without
    an offset on a clock other than UTC.
    """
    column = dataset.ingest_column
    if column is None or column in (*dataset.series_columns, dataset.timestamp_column):
        return None
    arrived = _instants(raw[column], "UTC" if dataset.timezone == "UTC" else None)
    if arrived is None:
        return None
    marks_end = dataset.timestamp_marks == "end"
    stamps = read_instants(
        raw[dataset.timestamp_column], dataset.timezone, dataset.timestamp_format, ends=marks_end
    )
    keys = join_keys([key_text(raw[name]) for name in dataset.series_columns])
    rows = raw.select(keys, timestamp=stamps.timestamps, arrived=arrived).drop_nulls()
    inside = rows.filter(pl.col("timestamp").is_between(wanted.since, wanted.until))
    return None if inside.is_empty() else inside


def _instants(column: pl.Series, timezone: str | None) -> pl.Series | None:
    if column.dtype == pl.String:
        if not column.str.contains(_DATED).all():
            return None
    elif not isinstance(column.dtype, pl.Datetime):
        return None
    try:
        return read_instants(column, timezone).timestamps
    except DataError:  # all without an offset
        return None
