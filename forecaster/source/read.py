"""Read a user's rows: one query, in a read-only session, from any database SQLAlchemy knows.

A SQLite file is read here, with the driver of the standard library: a second process gains
nothing, and a second SQLite library loses data. Everything else is read by a worker process.
"""

import math
import sqlite3
from dataclasses import replace
from functools import partial

import polars as pl
from sqlalchemy import URL

from forecaster.config.settings import DatasetConfig
from forecaster.source import query, rows, session, worker_pool
from forecaster.source.cursor import SourceState
from forecaster.source.privileges import Shape
from forecaster.source.query import RowRange, SourceQuery, select_rows
from forecaster.store.connection.urls import parse_url

_ROWS_AT_ONCE = 1_000


def read_rows(
    dataset: DatasetConfig, url: str, wanted: RowRange, *, within: float = math.inf
) -> pl.DataFrame:
    """Return the key, timestamp and value columns of the wanted rows.

    Where timestamps are text or on a wall clock, rows up to two days outside may be included.
    DataError when the query cannot run or lacks a column, SourceUnavailable
    when there is no answer within `read_timeout` and `within` seconds, UnsupportedDatabase for an
    address without a driver.
    """
    request = SourceQuery.of(dataset, url, wanted, within=within)
    address = parse_url(url)
    if address.get_backend_name() == "sqlite":
        return _read_file(request, address)
    return worker_pool.read(request)


def read_state(
    dataset: DatasetConfig, url: str, wanted: RowRange, *, patient: bool, within: float = math.inf
) -> SourceState:
    """Return the high-water mark of the dataset's `ingest_column`, before `wanted` rows are read.

    A `patient` read waits a moment for open transactions to end. Raises what `read_rows` raises,
    and DataError for a source without such a mark.
    """
    query_all = SourceQuery.of(dataset, url, wanted, within=within)
    request = replace(query_all, look="patient" if patient else "quick")
    if parse_url(url).get_backend_name() == "sqlite":
        with session.session(request) as conn:
            return query.read_state(conn, request)
    return SourceState.from_json(worker_pool.read(request).item())


def read_shape(dataset: DatasetConfig, url: str, wanted: RowRange) -> Shape | None:
    """Return privileges and column types of a PostgreSQL source; None for other databases.

    Raises what `read_rows` raises.
    """
    if parse_url(url).get_backend_name() != "postgresql":
        return None
    request = replace(SourceQuery.of(dataset, url, wanted), look="shape")
    return Shape.from_json(worker_pool.read(request).item())


def _read_file(request: SourceQuery, address: URL) -> pl.DataFrame:
    with session.session(request) as conn:
        cursor = conn.execute(select_rows(conn, request)).cursor
        assert isinstance(cursor, sqlite3.Cursor)
        try:
            parts = iter(partial(cursor.fetchmany, _ROWS_AT_ONCE), [])
            return rows.gather(request.columns, parts, keys=len(request.series_columns))
        except sqlite3.Error as error:
            gone = isinstance(error, sqlite3.OperationalError)
            raise session.explain(error, request, address, gone=gone) from error
