"""Frames in and out of tables, many rows at once, inside the transaction of a connection.

PostgreSQL: COPY in both directions. SQLite: the driver's executemany and fetchall.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import polars as pl
import psycopg
import sqlalchemy as sa
from polars import selectors as cs
from sqlalchemy import ColumnElement, Connection, Select, Table

from forecaster.errors import DataError
from forecaster.store.failures import translate

_ROWS_AT_ONCE = 100_000
_INSTANT_FORMAT = "%Y-%m-%d %H:%M:%S%.6f%:z"


def insert_frame(conn: Connection, table: Table, frame: pl.DataFrame) -> int:
    """Append the rows of `frame`, whose columns are columns of `table`; return how many.

    StoreError when a key exists already; DataError when a number is NaN or infinite, which
    SQLite would keep as null and PostgreSQL as a number that spoils every sum.
    """
    _require_finite(table, frame)
    if frame.is_empty():
        return 0
    if conn.dialect.name == "postgresql":
        _copy_in(conn, table, frame)
    else:
        _insert_many(conn, table, frame)
    return frame.height


def read_frame(
    conn: Connection, query: Select[Any], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Return the rows of `query` as a frame of the declared columns, in no order.

    `query` selects columns of these names; instants become UTC with microseconds.
    """
    rows = query.subquery("found")
    plain = sa.select(*(_plain(conn, rows.c[name], kind) for name, kind in schema.items()))
    stored = {name: _stored(kind) for name, kind in schema.items()}
    if conn.dialect.name == "postgresql":
        frame = _copy_out(conn, plain, stored)
    else:
        cursor = conn.execute(plain).cursor
        assert cursor is not None
        frame = pl.DataFrame(cursor.fetchall(), schema=stored, orient="row")
    return frame.cast(pl.Schema(schema))


def _require_finite(table: Table, frame: pl.DataFrame) -> None:
    checks = {name: _is_finite(name, kind) for name, kind in frame.schema.items()}
    bad = frame.select(
        (~check).sum().alias(name) for name, check in checks.items() if check is not None
    )
    found = [f"{column.item()} in {column.name}" for column in bad if column.sum()]
    if found:
        raise DataError(
            f"numbers of {table.name} must be finite, found NaN or infinite: {', '.join(found)}"
        )


def _is_finite(name: str, kind: pl.DataType) -> pl.Expr | None:
    if kind.is_float():
        return pl.col(name).is_finite()
    if isinstance(kind, pl.List):
        return pl.col(name).list.eval(pl.element().is_finite()).list.all()
    return None


def _insert_many(conn: Connection, table: Table, frame: pl.DataFrame) -> None:
    names = ", ".join(conn.dialect.identifier_preparer.quote(name) for name in frame.columns)
    marks = ", ".join("?" * frame.width)
    plain = frame.with_columns(cs.datetime().dt.timestamp("us"), *_joined(frame, "[", "]"))
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"
    for part in plain.iter_slices(_ROWS_AT_ONCE):
        conn.exec_driver_sql(statement, part.rows())


def _copy_in(conn: Connection, table: Table, frame: pl.DataFrame) -> None:
    names = ", ".join(conn.dialect.identifier_preparer.quote(name) for name in frame.columns)
    plain = frame.with_columns(*_joined(frame, "{", "}"))
    statement = f"COPY {table.name} ({names}) FROM STDIN (FORMAT csv)"
    with _copying(conn, statement) as copy:
        for part in plain.iter_slices(_ROWS_AT_ONCE):
            copy.write(part.write_csv(include_header=False, datetime_format=_INSTANT_FORMAT))


def _copy_out(
    conn: Connection, query: Select[Any], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    compiled = query.compile(dialect=conn.dialect)
    content = io.BytesIO()
    with _copying(conn, f"COPY ({compiled}) TO STDOUT (FORMAT csv)", compiled.params) as copy:
        for piece in copy:
            content.write(piece)
    return pl.read_csv(
        content.getvalue(), has_header=False, schema=dict(schema), raise_if_empty=False
    )


@contextmanager
def _copying(
    conn: Connection, statement: str, parameters: Mapping[str, Any] | None = None
) -> Iterator[psycopg.Copy]:
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement, parameters) as copy:
            yield copy
    except psycopg.Error as error:
        # SQLAlchemy does not see this error, so it cannot be translated where all others are.
        raise translate(error, conn.engine.url) from error


def _joined(frame: pl.DataFrame, opening: str, closing: str) -> list[pl.Expr]:
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    return [
        pl.concat_str(
            pl.lit(opening),
            pl.col(name).cast(pl.List(pl.String())).list.join(","),
            pl.lit(closing),
        ).alias(name)
        for name in lists
    ]


def _plain(conn: Connection, column: ColumnElement[Any], kind: pl.DataType) -> ColumnElement[Any]:
    """Return what the driver can hand over without making a Python object of every instant."""
    if not isinstance(kind, pl.Datetime):
        return column
    if conn.dialect.name == "sqlite":
        return sa.type_coerce(column, sa.Integer)
    return sa.cast(sa.extract("epoch", column) * 1_000_000, sa.BigInteger)


def _stored(kind: pl.DataType) -> pl.DataType:
    return pl.Int64() if isinstance(kind, pl.Datetime) else kind
