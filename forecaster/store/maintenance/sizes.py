"""Sizes of the tables: bytes on disk with their indexes, rows, and partitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Table, func, select, text
from sqlalchemy.dialects.postgresql import REGCLASS

from forecaster.store import tables
from forecaster.store.maintenance import partitions
from forecaster.store.maintenance.partitions import PARTITIONED

_LARGE = ("observations", *PARTITIONED)
_WALKED_BYTES = 2**30
"""A larger SQLite file is not scanned for the sizes of its tables."""
_SAMPLED_SERIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """One table; `bytes` is None where the database cannot report it cheaply."""

    table: str
    rows: int
    is_estimate: bool
    bytes: int | None
    partitions: int
    first: datetime | None
    """Where the oldest partition begins."""
    last: datetime | None
    """Where the newest one ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSize:
    """A whole database: `bytes` of all files, with pages that are free for now."""

    bytes: int
    free_bytes: int | None
    tables: tuple[TableSize, ...]


def measure(conn: Connection) -> StoreSize:
    """Measure every table, at the cost of a few reads of the catalogue and of small tables."""
    if conn.dialect.name == "postgresql":
        return _measure_postgres(conn)
    return _measure_sqlite(conn)


def _measure_postgres(conn: Connection) -> StoreSize:
    total = conn.scalar(select(func.pg_database_size(func.current_database())))
    sizes = (_postgres_table(conn, name) for name in tables.metadata.tables)
    return StoreSize(bytes=total or 0, free_bytes=None, tables=tuple(sizes))


def _postgres_table(conn: Connection, table: str) -> TableSize:
    parts = partitions.read(conn, table)
    names = [part.name for part in parts] if table in PARTITIONED else [table]
    rows = [partitions.count(conn, name) for name in names]
    size = func.pg_total_relation_size(sa.cast(sa.bindparam("name"), REGCLASS))
    quote = conn.dialect.identifier_preparer.quote
    return TableSize(
        table=table,
        rows=sum(count.rows for count in rows),
        is_estimate=not all(count.is_exact for count in rows),
        bytes=sum(conn.scalar(select(size), {"name": quote(name)}) or 0 for name in names),
        partitions=len(parts),
        first=parts[0].lower if parts else None,
        last=parts[-1].upper if parts else None,
    )


def _measure_sqlite(conn: Connection) -> StoreSize:
    page, pages, free = (
        int(conn.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_size", "page_count", "freelist_count")
    )
    bytes_of = _walk(conn) if page * pages <= _WALKED_BYTES else {}
    sizes = (_sqlite_table(conn, name, bytes_of) for name in tables.metadata.tables)
    return StoreSize(bytes=page * pages, free_bytes=page * free, tables=tuple(sizes))


def _walk(conn: Connection) -> dict[str, int]:
    """Return the bytes of each table; nothing where SQLite was built without dbstat."""
    is_there = text("SELECT 1 FROM pragma_module_list WHERE name = 'dbstat'")
    if conn.scalar(is_there) is None:
        return {}
    rows = conn.execute(
        text(
            "SELECT m.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_schema m ON m.name = d.name"
            " WHERE d.aggregate = TRUE GROUP BY m.tbl_name"
        )
    )
    return {name: int(size) for name, size in rows}


def _sqlite_table(conn: Connection, name: str, bytes_of: Mapping[str, int]) -> TableSize:
    rows, is_estimate = _sqlite_rows(conn, tables.metadata.tables[name])
    return TableSize(
        table=name,
        rows=rows,
        is_estimate=is_estimate,
        bytes=bytes_of.get(name),
        partitions=0,
        first=None,
        last=None,
    )


def _sqlite_rows(conn: Connection, table: Table) -> tuple[int, bool]:
    """Count the rows; of a large table those of a few series, taken for the rest."""
    if table.name not in _LARGE:
        return conn.scalar(select(func.count()).select_from(table)) or 0, False
    ids = tables.series.c.id
    known = conn.scalar(select(func.count(ids))) or 0
    stride = max(1, known // _SAMPLED_SERIES)
    sample = conn.scalars(select(ids).where(ids % stride == 0).limit(_SAMPLED_SERIES)).all()
    rows = conn.scalar(
        select(func.count()).select_from(table).where(table.c.series_id.in_(sample))
    ) or 0  # fmt: skip
    return rows * known // max(1, len(sample)), known > len(sample)
