"""When the rows of a source arrived, by an `ingest_column` that holds instants."""

from dataclasses import replace

import polars as pl

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.ingestion.normalize import join_keys
from forecaster.ingestion.series_keys import key_text
from forecaster.ingestion.timestamps import read_instants
from forecaster.source import read
from forecaster.source.query import RowRange

_DATED = "^[0-9]{4}-"
"""Begins text that is a time and no number of a transaction or row."""


def read_arrivals(dataset: DatasetConfig, url: str, wanted: RowRange) -> pl.DataFrame | None:
    """Return series_id, timestamp and arrived of the wanted rows.

    None without rows or `ingest_column`, and where it holds no instants: numbers, or times without
    an offset on a clock other than UTC. Raises what `read_rows` raises.
    """
    column = dataset.ingest_column
    if column is None or column in (*dataset.series_columns, dataset.timestamp_column):
        return None
    raw = read.read_rows(replace(dataset, value_column=column), url, wanted)
    arrived = _instants(raw[column], "UTC" if dataset.timezone == "UTC" else None)
    if arrived is None:
        return None
    marks_end = dataset.timestamp_marks == "end"
    stamps = read_instants(
        raw[dataset.timestamp_column], dataset.timezone, dataset.timestamp_format, ends=marks_end
    )
    keys = join_keys([key_text(raw[name]) for name in dataset.series_columns])
    rows = raw.select(keys, timestamp=stamps.timestamps, arrived=arrived).drop_nulls()
    return None if rows.is_empty() else rows


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
