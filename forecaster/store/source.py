"""Read a user's rows: one query, in a read-only session, from any database SQLAlchemy knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, ExceptionContext, Select, create_engine, event
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.elements import quoted_name

from forecaster.config import DatasetConfig
from forecaster.errors import DatabaseUnavailable, DataError, ForecasterError, UnsupportedDatabase
from forecaster.store import bounds, placeholders, rows
from forecaster.store.engine import postgres_arguments
from forecaster.store.failures import describe, is_bad_sqlite_statement
from forecaster.store.urls import masked, parse_url

_ROWS_AT_ONCE = 100_000
_POSTGRES_OPTIONS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "10min",
    "cursor_tuple_fraction": "1",  # all rows are fetched, so plan for all
}


def read_source(
    dataset: DatasetConfig, url: str, *, since: datetime, until: datetime
) -> pl.DataFrame:
    """Return the key, timestamp and value columns of the rows between `since` and `until`.

    Where timestamps are text or on a wall clock, rows up to two days outside may come along.
    DataError when the query cannot run or lacks a column, DatabaseUnavailable when nobody
    answers, UnsupportedDatabase for an address without a driver.
    """
    if dataset.query is None:
        raise DataError(
            f"dataset {dataset.name} must have a query, found none",
            hint=f"set query in [datasets.{dataset.name}], or run `forecaster ingest`",
        )
    statement, used = placeholders.statement(dataset.query)
    with _session(dataset, url) as conn:
        own = bounds.for_parameters(conn.dialect.name, since, until)
        statement = statement.bindparams(*(own[name] for name in sorted(used)))
        _require_columns(dataset, _columns_of(conn, statement))
        names = [*dataset.series_columns, dataset.timestamp_column, dataset.value_column]
        source = statement.columns(*map(_exact, names)).subquery("source")
        within = bounds.within(
            conn, source.c[dataset.timestamp_column], since, until, timezone=dataset.timezone
        )
        return _fetch(conn, sa.select(*source.c).where(*within))


def _exact(name: str) -> sa.ColumnClause[Any]:
    return sa.column(quoted_name(name, True))


def _columns_of(conn: Connection, statement: sa.TextClause) -> list[str]:
    everything = sa.select(sa.text("*")).select_from(statement.columns().subquery("source"))
    return list(conn.execute(everything.limit(0)).keys())


def _fetch(conn: Connection, query: Select[Any]) -> pl.DataFrame:
    names = [column.name for column in query.selected_columns]
    result = conn.execution_options(stream_results=True).execute(query)
    parts = [rows.to_frame(names, part) for part in result.partitions(_ROWS_AT_ONCE)]
    return rows.concat(parts or [rows.to_frame(names, [])])


def _require_columns(dataset: DatasetConfig, found: list[str]) -> None:
    settings = {
        "timestamp_column": (dataset.timestamp_column,),
        "value_column": (dataset.value_column,),
        "series_columns": dataset.series_columns,
    }
    missing = [(name, setting) for setting, names in settings.items() for name in names
               if name not in found]  # fmt: skip
    if not missing:
        return
    listed = ", ".join(f"'{name}'" for name, _ in missing)
    raise DataError(
        f"query of dataset {dataset.name} must have columns {listed}, found {', '.join(found)}",
        hint="; ".join(_suggestion(name, setting, found) for name, setting in missing),
    )


def _suggestion(name: str, setting: str, found: list[str]) -> str:
    near = get_close_matches(name.lower(), [column.lower() for column in found], n=1)
    likely = next((column for column in found if [column.lower()] == near), None)
    if likely is None:
        return f"set {setting}, or name a column AS {name}"
    value = f'["{likely}"]' if setting == "series_columns" else f'"{likely}"'
    return f"did you mean {setting} = {value}?"


@contextmanager
def _session(dataset: DatasetConfig, url: str) -> Iterator[Connection]:
    address = parse_url(url)
    engine = _open(address, dataset.timezone)

    def translated(context: ExceptionContext) -> ForecasterError:
        return _explain(context, dataset.name, address)

    event.listen(engine, "handle_error", translated)
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()


def _open(url: URL, timezone: str | None) -> Engine:
    arguments: dict[str, Any] = {}
    match url.get_backend_name():
        case "sqlite":
            url = _existing_file(url)
        case "postgresql":
            # Naive columns compare with :since on the clock they were written on.
            arguments = postgres_arguments(
                url, {**_POSTGRES_OPTIONS, "TimeZone": timezone or "UTC"}
            )
    try:
        engine = create_engine(
            url, connect_args=arguments, poolclass=NullPool, hide_parameters=True
        )
    except (sa.exc.ArgumentError, ImportError) as error:
        raise UnsupportedDatabase(
            f"source must have an installed driver, found {url.drivername}",
            hint="install SQLAlchemy's driver for this database",
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _only_read)
    return engine


def _existing_file(url: URL) -> URL:
    """Return the address in a form that does not make a file that is not there."""
    database = url.database or ""
    if database.startswith("file:"):
        return url
    path = quote(str(Path(database).absolute()))
    return url.set(database=f"file:{path}").update_query_dict({"mode": "rw", "uri": "true"})


def _only_read(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA query_only=ON")


def _explain(context: ExceptionContext, dataset: str, url: URL) -> ForecasterError:
    reason = describe(context.original_exception, url)
    gone = isinstance(context.sqlalchemy_exception, sa.exc.OperationalError | sa.exc.InterfaceError)
    if gone and not is_bad_sqlite_statement(context.original_exception):
        return DatabaseUnavailable(
            f"source {masked(url)} of dataset {dataset} must answer, found: {reason}",
            hint="check that the database runs and that the address is right",
        )
    return DataError(
        f"query of dataset {dataset} must run, found: {reason}",
        hint=f"correct query in [datasets.{dataset}]",
    )
