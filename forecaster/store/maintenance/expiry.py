"""Rows that are too old, deleted in short transactions."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, select, tuple_

from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.maintenance import partitions
from forecaster.store.state import datasets

_AGE_COLUMNS = {
    "observations": tables.observations.c.timestamp,
    "forecasts": tables.forecasts.c.cutoff,
    "attention": tables.attention.c.cutoff,
    "accuracy": tables.accuracy.c.cutoff,
}
"""What the age of a row counts from."""

_SERIES_AT_ONCE = 500
_ROWS_AT_ONCE = 50_000
_PAGES_AT_ONCE = 10_000
_PAGES_SPARED = 0.1


def delete_before(engine: Engine, dataset: str, table: str, before: datetime) -> int:
    """Delete what is earlier than `before` from one of the large tables; return how many rows.

    A table that lies in partitions is left alone: whole partitions are dropped from it.
    """
    if engine.dialect.name == "sqlite":
        return sum(_delete_in_batches(engine, dataset, table, before))
    if table in partitions.PARTITIONED:
        return 0
    target = tables.metadata.tables[table]
    is_ours = target.c.series_id.in_(datasets.series_of(dataset))
    with writing(engine) as conn:
        return conn.execute(delete(target).where(is_ours, _AGE_COLUMNS[table] < before)).rowcount


def shrink(engine: Engine) -> int:
    """Return unused pages of a SQLite file to the disk; return how many.

    A tenth of the file is kept for rows to come. Files that an earlier version made keep their
    size until VACUUM is run; PostgreSQL manages its files by itself.
    """
    if engine.dialect.name != "sqlite":
        return 0
    freed, wanted = 0, _PAGES_AT_ONCE
    while wanted == _PAGES_AT_ONCE:
        with writing(engine) as conn:
            before = _pragma(conn, "page_count")
            wanted = min(_spare_pages(conn), _PAGES_AT_ONCE)
            for _ in range(wanted):
                conn.exec_driver_sql("PRAGMA incremental_vacuum(1)")  # the driver steps only once
            freed += before - _pragma(conn, "page_count")
    return freed


def _delete_in_batches(engine: Engine, dataset: str, table: str, before: datetime) -> Iterator[int]:
    with reading(engine) as conn:
        ids = sorted(conn.scalars(datasets.series_of(dataset)))
    for first in range(0, len(ids), _SERIES_AT_ONCE):
        some = ids[first : first + _SERIES_AT_ONCE]
        deleted = _ROWS_AT_ONCE
        while deleted == _ROWS_AT_ONCE:
            with writing(engine) as conn:
                deleted = _delete_some(conn, some, table, before)
            yield deleted


def _delete_some(conn: Connection, series: Sequence[int], table: str, before: datetime) -> int:
    """Delete a bounded number of old rows of `series`."""
    target = tables.metadata.tables[table]
    key = list(target.primary_key)
    old = select(*key).where(target.c.series_id.in_(series), _AGE_COLUMNS[table] < before)
    return conn.execute(delete(target).where(tuple_(*key).in_(old.limit(_ROWS_AT_ONCE)))).rowcount


def _spare_pages(conn: Connection) -> int:
    if not _pragma(conn, "auto_vacuum"):
        return 0
    kept = int(_PAGES_SPARED * _pragma(conn, "page_count"))
    return max(0, _pragma(conn, "freelist_count") - kept)


def _pragma(conn: Connection, name: str) -> int:
    return int(conn.exec_driver_sql(f"PRAGMA {name}").scalar_one())
