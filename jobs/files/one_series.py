"""Files of one series, without a series column."""

import polars as pl

from forecaster.errors import DataError
from forecaster.ingestion.normalize import Columns
from jobs.files.layout import Dialect


def with_key(rows: pl.DataFrame, columns: Columns, dialect: Dialect, name: str) -> pl.DataFrame:
    """Add the series key to the rows of one series: that of `dialect`, or else `name`.

    Rows of two columns, timestamps and one other, are one series; others are if `dialect` has a
    series. DataError if they cannot be.
    """
    for named in (*columns.series, columns.timestamp, columns.value):
        if f"{named}_duplicated_0" in rows.columns:  # as polars calls the second of a name
            raise DataError(
                f"column {named!r} must be unique, found several",
                hint="rename them, or choose another column, for example with --value-column",
            )
    if dialect.series is not None:
        return _as_one_series(rows, columns, dialect.series)
    usual = Columns()
    others = [column for column in rows.columns if column != columns.timestamp]
    if rows.width != 2 or len(others) != 1 or columns.series != usual.series:
        return rows
    if others[0] in columns.series or columns.value not in (usual.value, others[0]):
        return rows
    return _keyed(rows, columns, dialect.usual_series or name, others[0])


def _as_one_series(rows: pl.DataFrame, columns: Columns, name: str) -> pl.DataFrame:
    series_columns = [column for column in columns.series if column in rows.columns]
    if series_columns or len(columns.series) > 1:
        raise DataError(
            f"--series {name} requires rows without series columns, "
            f"found columns {', '.join(map(repr, series_columns or columns.series))}",
            hint="omit --series",
        )
    others = [column for column in rows.columns if column != columns.timestamp]
    if columns.value not in others and len(others) == 1:
        return _keyed(rows, columns, name, others[0])
    if columns.value not in others or columns.timestamp not in rows.columns:
        raise DataError(
            f"rows must have columns {columns.timestamp!r} and {columns.value!r}, found "
            f"{', '.join(map(repr, rows.columns))}",
            hint="set --timestamp-column and --value-column",
        )
    return _keyed(rows, columns, name, columns.value)


def _keyed(rows: pl.DataFrame, columns: Columns, name: str, value: str) -> pl.DataFrame:
    if columns.timestamp not in rows.columns:
        return rows
    key = pl.lit(name).alias(columns.series[0])
    return rows.select(key, columns.timestamp, pl.col(value).alias(columns.value))
