"""Read a user's rows: one query, in a read-only session, from any database SQLAlchemy knows.

A SQLite file is read here, with the driver of the standard library: a second process gains
nothing, and a second SQLite library loses data. Everything else is read by a worker process.
"""

import sqlite3
from datetime import datetime
from functools import partial

import polars as pl
from sqlalchemy import URL

from forecaster.config import DatasetConfig
from forecaster.store import rows, source_processes, source_session
from forecaster.store.source_question import Question, select_rows
from forecaster.store.urls import parse_url

_ROWS_AT_ONCE = 1_000


def read_source(
    dataset: DatasetConfig,
    url: str,
    *,
    since: datetime,
    until: datetime,
    odd: bool = True,
    limit: int | None = None,
) -> pl.DataFrame:
    """Return the key, timestamp and value columns of the rows between `since` and `until`.

    Where timestamps are text or on a wall clock, rows up to two days outside may come along; `odd`
    ones, whose timestamps lie nowhere, come along to be counted. At most `limit` rows come, of no
    particular choice. DataError when the query cannot run or lacks a column, DatabaseUnavailable
    when nobody answers within `read_timeout`, UnsupportedDatabase for an address without a driver.
    """
    asked = Question.of(dataset, url, since=since, until=until, odd=odd, limit=limit)
    address = parse_url(url)
    if address.get_backend_name() == "sqlite":
        return _read_file(asked, address)
    return source_processes.ask(asked)


def _read_file(asked: Question, address: URL) -> pl.DataFrame:
    with source_session.session(asked) as conn:
        cursor = conn.execute(select_rows(conn, asked)).cursor
        assert isinstance(cursor, sqlite3.Cursor)
        try:
            return rows.gather(asked.columns, iter(partial(cursor.fetchmany, _ROWS_AT_ONCE), []))
        except sqlite3.Error as error:
            gone = isinstance(error, sqlite3.OperationalError)
            raise source_session.explain(error, asked, address, gone=gone) from error
