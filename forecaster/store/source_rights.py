"""What the role of a source may do there: to read is enough."""

import sqlalchemy as sa
from sqlalchemy import Connection

_SHOWN = 3
_MAY_WRITE = sa.text(
    "SELECT format('%I.%I', nspname, relname) FROM pg_class "
    "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE relkind IN ('r', 'p', 'f') AND nspname <> 'information_schema' "
    "AND nspname NOT LIKE 'pg\\_%' AND has_schema_privilege(relnamespace, 'USAGE') "
    "AND has_table_privilege(pg_class.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') "
    "ORDER BY 1"
)


def writable_tables(conn: Connection) -> tuple[str, ...]:
    """Return tables that a source's role may write, as few as show it; none where nobody tells."""
    if conn.dialect.name != "postgresql":
        return ()
    return tuple(conn.scalars(_MAY_WRITE).fetchmany(_SHOWN))
