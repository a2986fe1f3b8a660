"""How large the database is: bytes, and rows per table."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from forecaster.store.tables import metadata

_COUNTED_BELOW = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`rows` by table; on PostgreSQL the large ones are its own estimate."""

    bytes: int
    rows: Mapping[str, int]


def sizes(conn: Connection) -> Sizes:
    """Measure the database, without reading large tables on PostgreSQL."""
    if conn.dialect.name == "postgresql":
        occupied = conn.scalar(text("SELECT pg_database_size(current_database())"))
        estimates = _estimates(conn)
    else:
        occupied = conn.scalar(
            text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        )
        estimates = {}
    rows = {
        table.name: estimates.get(table.name) or _count(conn, table.name)
        for table in metadata.sorted_tables
    }
    return Sizes(bytes=int(occupied or 0), rows=rows)


def _estimates(conn: Connection) -> dict[str, int]:
    found = conn.execute(
        text(
            "SELECT relname, reltuples FROM pg_class"
            " WHERE relkind = 'r' AND pg_table_is_visible(oid) AND reltuples >= :least"
        ),
        {"least": _COUNTED_BELOW},
    )
    return {name: int(rows) for name, rows in found}


def _count(conn: Connection, table: str) -> int:
    return conn.scalar(select(func.count()).select_from(metadata.tables[table])) or 0
