"""Rows of PostgreSQL as Arrow columns, by binary COPY through ADBC; only ever in a worker.

A network that drops packets blocks this driver forever: the caller must be a process to kill.
"""

from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import polars as pl
import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy import ColumnElement, Connection, Select

from forecaster.errors import ForecasterError
from forecaster.source import predicates, session
from forecaster.source.query import SourceQuery
from forecaster.store.connection.errors import describe
from forecaster.store.connection.urls import parse_url

_KEYS_AS_THEY_ARE = ("text", "varchar", "name", "int2", "int4", "int8", "float4", "float8")
_AS_THEY_ARE = ("text", "varchar", "bpchar", "name", "int2", "int4", "int8", "float8")
_EARLIEST: ColumnElement[Any] = sa.literal_column("'0001-01-01'")
_LATEST: ColumnElement[Any] = sa.literal_column("'9999-12-31'")
_LARGEST: ColumnElement[Any] = sa.literal_column("1.7976931348623157e308")
_SMALLEST: ColumnElement[Any] = sa.literal_column("1e-307")
_HEXADECIMAL: ColumnElement[Any] = sa.literal_column("chr(92) || 'x'")
_POINT: ColumnElement[Any] = sa.literal_column("'.'")
_ZERO: ColumnElement[Any] = sa.literal_column("'0'")
_LETTER: ColumnElement[Any] = sa.literal_column("'[a-zA-Z]'")
_GONE = ("08", "53", "57", "58", session.ENDED_AS_IDLE)
"""Classes of SQLSTATE not caused by the query: connection, resources, operator, system."""


def fetch(conn: Connection, query: Select[Any], request: SourceQuery) -> pl.DataFrame:
    """Return the rows of `query`, which `conn` has planned, over a connection of ADBC's own.

    This ends the session of `conn`.
    Dates and times beyond the years 1 to 9999, infinity included, become the first or last of
    these years; numbers outside the range of doubles become NaN or zero; types without a
    counterpart become text. Keys that are numeric become the digits of the exact number.
    """
    kinds = predicates.declared_types(conn, query)
    rows = query.subquery("found")
    columns, keys = list(zip(rows.c, kinds, strict=True)), len(request.series_columns)
    readable = [
        *(_key(column, kind) for column, kind in columns[:keys]),
        *(_readable(column, kind) for column, kind in columns[keys:]),
    ]
    named = [
        expression.label(column.key) for expression, column in zip(readable, rows.c, strict=True)
    ]
    statement, conninfo = _with_values(conn, sa.select(*named)), _conninfo(conn)
    conn.invalidate()  # ends the session, even a dead one: its transaction is not to wait idle
    with adbc_driver_postgresql.dbapi.connect(conninfo) as arrow, arrow.cursor() as cursor:
        try:
            cursor.execute(statement)
            return pl.DataFrame(cursor.fetch_arrow())
        except (adbc_driver_manager.Error, pl.exceptions.ComputeError) as error:
            raise _explained(error, arrow, request) from None


def _key(column: ColumnElement[Any], kind: str | None) -> ColumnElement[Any]:
    """Return a column of series' keys as text, or in a type that keeps it exact."""
    match kind:
        case _ if kind in _KEYS_AS_THEY_ARE:
            return column
        case _ if kind in predicates.DATED:
            return _readable(column, kind)
        case "numeric" | "money":
            return _exact(sa.cast(sa.cast(column, sa.Numeric), sa.Text))
        case "bytea":
            return _HEXADECIMAL.concat(sa.func.encode(column, sa.literal_column("'hex'")))
        case _:
            return sa.cast(column, sa.Text)  # of char(n), this is without its padding


def _exact(digits: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the digits of a number without zeros at the end of its fraction; NULL for NaN."""
    short = sa.func.rtrim(sa.func.rtrim(digits, _ZERO), _POINT)
    return sa.case(
        (digits.op("~")(_LETTER), sa.null()),
        (sa.func.strpos(digits, _POINT) > 0, short),
        else_=digits,
    )


def _readable(column: ColumnElement[Any], kind: str | None) -> ColumnElement[Any]:
    """Return the column in a type that both sides know."""
    match kind:
        case _ if kind in _AS_THEY_ARE:
            return column
        case _ if kind in predicates.DATED:
            return sa.case(
                (column < _EARLIEST, _EARLIEST), (column > _LATEST, _LATEST), else_=column
            )
        case "numeric":
            return _number(column)
        case "money":
            return _number(sa.cast(column, sa.Numeric))
        case "float4":
            return sa.cast(column, sa.Double)
        case "bool":
            return sa.cast(column, sa.Integer)
        case "oid":
            return sa.cast(column, sa.BigInteger)
        case _:
            return sa.cast(column, sa.Text)


def _number(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return sa.case(
        (sa.func.abs(column) > _LARGEST, sa.literal_column("'NaN'::float8")),
        (sa.func.abs(column) < _SMALLEST, sa.literal_column("0::float8")),
        else_=sa.cast(column, sa.Double),
    )


def _with_values(conn: Connection, query: Select[Any]) -> str:
    # COPY takes no parameters, and without COPY this driver is half as fast and holds every row
    # twice; psycopg quotes the values as it does for its own COPY.
    compiled = query.compile(dialect=conn.dialect)
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return psycopg.ClientCursor(driver).mogrify(str(compiled), compiled.params)


def _conninfo(conn: Connection) -> str:
    """Return the address and options of the session that `conn` has, in libpq's own spelling."""
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return make_conninfo(**driver.info.get_parameters(), password=driver.info.password or None)


def _explained(
    error: adbc_driver_manager.Error | pl.exceptions.ComputeError,
    arrow: adbc_driver_postgresql.dbapi.Connection,
    request: SourceQuery,
) -> ForecasterError:
    url = parse_url(request.url)
    state = getattr(error, "sqlstate", None)
    if state == "57014":
        return session.out_of_time(request)
    gone = not _answers(arrow) if state is None else state.startswith(_GONE)
    reason = describe(error, url)
    if gone:
        return session.unavailable(request, url, reason)
    return session.bad_query(request, reason)


def _answers(arrow: adbc_driver_postgresql.dbapi.Connection) -> bool:
    """Return whether the server still answers: failures between rows have no SQLSTATE."""
    try:
        arrow.rollback()
        with arrow.cursor() as cursor:
            cursor.execute("SELECT 1")
    except adbc_driver_manager.Error:
        return False
    return True
