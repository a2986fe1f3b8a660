"""Frames in and out of tables, many rows at once, inside the transaction of a connection.

PostgreSQL: COPY in both directions, binary for writes. SQLite: executemany of statements with many
rows each, and numbers straight into an array.
"""

import io
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import psycopg
import sqlalchemy as sa
from polars import selectors as cs
from sqlalchemy import ColumnElement, Connection, Select, Table

from forecaster.errors import DataError
from forecaster.store.connection import pg_copy
from forecaster.store.connection.errors import translate

_ROWS_AT_ONCE = 100_000
_MOST_PARAMETERS = 999
"""Of one statement, in every version of SQLite."""
_NUMPY: Mapping[pl.DataType, str] = {
    pl.Int32(): "i4",
    pl.Int64(): "i8",
    pl.Float32(): "f4",
    pl.Float64(): "f8",
}


def insert_frame(conn: Connection, table: Table, frame: pl.DataFrame) -> int:
    """Append the rows of `frame`, whose columns are columns of `table`; return how many."""
    return insert_frames(conn, table, [frame])


def insert_frames(conn: Connection, table: Table, frames: Iterable[pl.DataFrame]) -> int:
    """Append the rows of all `frames` in one statement, as they are produced; return how many.

    StoreError when a key exists already; DataError when a number is NaN or infinite, which
    SQLite would keep as null and PostgreSQL as a number that spoils every sum.
    """
    filled = (_finite(table, frame) for frame in frames if not frame.is_empty())
    if (first := next(filled, None)) is None:
        return 0
    insert = _copy_in if conn.dialect.name == "postgresql" else _insert_many
    return insert(conn, table, first.columns, itertools.chain([first], filled))


def read_frame(
    conn: Connection, query: Select[Any], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Return the rows of `query`, in its order, as a frame of the declared columns.

    `query` selects columns of these names; instants become UTC with microseconds. Integers and
    instants must not be null.
    """
    selected = query.selected_columns
    plain = query.with_only_columns(
        *(_plain(conn, selected[name], kind).label(name) for name, kind in schema.items()),
        maintain_column_froms=True,
    )
    stored = {
        name: pl.Int64() if isinstance(kind, pl.Datetime) else kind for name, kind in schema.items()
    }
    read = _copy_out if conn.dialect.name == "postgresql" else _fetch
    return read(conn, plain, stored).cast(pl.Schema(schema))


def _finite(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    counts = {column.name: _count_not_finite(column) for column in frame.iter_columns()}
    unusable = [f"{count} in {name}" for name, count in counts.items() if count]
    if unusable:
        raise DataError(
            f"numbers of {table.name} must be finite, found NaN or infinite: {', '.join(unusable)}"
        )
    return frame


def _count_not_finite(column: pl.Series) -> int:
    """Count the numbers that are NaN or infinite, of lists and their lists too."""
    while column.dtype.is_nested():
        column = column.explode()
    return int((~column.is_finite()).sum()) if column.dtype.is_float() else 0


def _insert_many(
    conn: Connection, table: Table, columns: list[str], frames: Iterable[pl.DataFrame]
) -> int:
    """Insert many rows with each statement: that takes less than half the time of one with each."""
    into = f"INSERT INTO {table.name} ({_quoted(conn, columns)}) VALUES "
    row = f"({', '.join('?' * len(columns))})"
    at_once = max(1, _MOST_PARAMETERS // len(columns))
    written = 0
    driver = conn.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    with _translated(conn):
        for rows, size in _in_groups(frames, at_once):
            statement = into + ", ".join([row] * size)
            driver.executemany(statement, _groups(rows, size))
            written += rows.height
    return written


def _in_groups(frames: Iterable[pl.DataFrame], size: int) -> Iterator[tuple[pl.DataFrame, int]]:
    """Split into rows that go `size` at a time, and the few that are left over."""
    for frame in frames:
        for part in frame.iter_slices(_ROWS_AT_ONCE):
            whole = part.height - part.height % size
            yield part[:whole], size
            yield part[whole:], 1


def _groups(frame: pl.DataFrame, size: int) -> Iterator[tuple[Any, ...]]:
    """Return the cells of `size` rows at a time, row after row."""
    plain = frame.with_columns(cs.datetime().dt.timestamp("us"), *_as_json(frame))
    cells: list[Any] = [None] * (plain.width * plain.height)
    for place, column in enumerate(plain.iter_columns()):
        cells[place :: plain.width] = column.to_list()
    return zip(*[iter(cells)] * (plain.width * size), strict=True)


def _copy_in(
    conn: Connection, table: Table, columns: list[str], frames: Iterable[pl.DataFrame]
) -> int:
    statement = f"COPY {table.name} ({_quoted(conn, columns)}) FROM STDIN (FORMAT binary)"
    written = 0
    with copying(conn, statement) as copy:
        copy.write(pg_copy.HEADER)
        for frame in frames:
            for block in pg_copy.encode(frame.select(columns)):
                copy.write(block)
            written += frame.height
        copy.write(pg_copy.TRAILER)
    return written


def _quoted(conn: Connection, columns: Iterable[str]) -> str:
    return ", ".join(map(conn.dialect.identifier_preparer.quote, columns))


def _fetch(conn: Connection, query: Select[Any], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    cursor: Any = conn.execute(query).cursor
    if pl.String() in schema.values():
        return pl.DataFrame(cursor.fetchall(), schema=dict(schema), orient="row")
    layout = [(name, _NUMPY[kind]) for name, kind in schema.items()]
    rows = np.fromiter(cursor, layout)
    frame = pl.DataFrame([pl.Series(name, np.ascontiguousarray(rows[name])) for name in schema])
    return frame.with_columns(cs.float().fill_nan(None))  # SQLite keeps no NaN: it was null


def _copy_out(
    conn: Connection, query: Select[Any], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    content = io.BytesIO()
    with _copying_out(conn, query, "csv") as copy:
        for piece in copy:
            content.write(piece)
    return pl.read_csv(
        content.getvalue(), has_header=False, schema=dict(schema), raise_if_empty=False
    )


def binary_rows(
    conn: Connection, query: Select[Any], kinds: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `query` from PostgreSQL: `kinds` are the types to read the columns as.

    A `bytea` is the column as the server sends it, whatever its type.
    """
    with _copying_out(conn, query, "binary") as copy:
        copy.set_types(kinds)
        yield from copy.rows()


@contextmanager
def _copying_out(conn: Connection, query: Select[Any], form: str) -> Iterator[psycopg.Copy]:
    compiled = query.compile(dialect=conn.dialect, compile_kwargs={"render_postcompile": True})
    statement = f"COPY ({compiled}) TO STDOUT (FORMAT {form})"
    with copying(conn, statement, compiled.params) as copy:
        yield copy


@contextmanager
def copying(
    conn: Connection, statement: str, parameters: Mapping[str, Any] | None = None
) -> Iterator[psycopg.Copy]:
    """Run COPY in the transaction of `conn`; StoreError for what goes wrong."""
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with _translated(conn), driver.cursor() as cursor, cursor.copy(statement, parameters) as copy:
        yield copy


@contextmanager
def _translated(conn: Connection) -> Iterator[None]:
    """SQLAlchemy does not see what its driver raises here, so it is not translated elsewhere."""
    try:
        yield
    except (psycopg.Error, sqlite3.Error) as error:
        raise translate(error, conn.engine.url) from error


def _as_json(frame: pl.DataFrame) -> list[pl.Expr]:
    """Return lists as JSON arrays; only objects can be encoded, so each is the value of one."""
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    return [
        pl.struct(pl.col(name).alias(""))
        .struct.json_encode()
        .str.strip_prefix('{"":')
        .str.strip_suffix("}")
        .alias(name)
        for name in lists
    ]


def _plain(conn: Connection, column: ColumnElement[Any], kind: pl.DataType) -> ColumnElement[Any]:
    """Return what the driver can hand over without making a Python object of every instant."""
    if not isinstance(kind, pl.Datetime):
        return column
    if conn.dialect.name == "sqlite":
        return sa.type_coerce(column, sa.Integer)
    return sa.cast(sa.extract("epoch", column) * 1_000_000, sa.BigInteger)
