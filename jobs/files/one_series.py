"""Files of one series, whose rows do not say which it is."""

import polars as pl

from forecaster.errors import DataError
from forecaster.ingestion.normalize import Columns
from jobs.files.layout import Dialect


def with_key(rows: pl.DataFrame, columns: Columns, dialect: Dialect, name: str) -> pl.DataFrame:
    """Complete the rows of one series by its key: that of `dialect`, or else `name`.

    Rows of two columns, timestamps and something else, are one series; others are where `dialect`
    says so. DataError where that cannot be.
    """
    for named in (*columns.series, columns.timestamp, columns.value):
        if f"{named}_duplicated_0" in rows.columns:  # as polars calls the second of a name
            raise DataError(
                f"one column must be called {named!r}, found several",
                hint="give them different names, or name another column with --value-column, say",
            )
    if dialect.series is not None:
        return _said(rows, columns, dialect.series)
    usual = Columns()
    others = [column for column in rows.columns if column != columns.timestamp]
    if rows.width != 2 or len(others) != 1 or columns.series != usual.series:
        return rows
    if others[0] in columns.series or columns.value not in (usual.value, others[0]):
        return rows
    return _keyed(rows, columns, dialect.usual_series or name, others[0])


def _said(rows: pl.DataFrame, columns: Columns, name: str) -> pl.DataFrame:
    found = [column for column in columns.series if column in rows.columns]
    if found or len(columns.series) > 1:
        raise DataError(
            f"rows that are all of series {name!r} must not have keys of their own, "
            f"found columns {', '.join(map(repr, found or columns.series))}",
            hint="leave out --series",
        )
    others = [column for column in rows.columns if column != columns.timestamp]
    if columns.value not in others and len(others) == 1:
        return _keyed(rows, columns, name, others[0])
    if columns.value not in others or columns.timestamp not in rows.columns:
        raise DataError(
            f"rows must have columns {columns.timestamp!r} and {columns.value!r}, found "
            f"{', '.join(map(repr, rows.columns))}",
            hint="name them with --timestamp-column and --value-column",
        )
    return _keyed(rows, columns, name, columns.value)


def _keyed(rows: pl.DataFrame, columns: Columns, name: str, value: str) -> pl.DataFrame:
    if columns.timestamp not in rows.columns:
        return rows
    key = pl.lit(name).alias(columns.series[0])
    return rows.select(key, columns.timestamp, pl.col(value).alias(columns.value))
