"""Privileges survive an upgrade: a migration that replaces a table or a view drops its grants."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

_GRANTED = sa.text(
    "SELECT c.relname AS relation, g.attname AS column, r.rolname AS role, "
    "a.privilege_type AS privilege, a.is_grantable FROM pg_class c "
    "CROSS JOIN LATERAL (SELECT NULL AS attname, c.relacl AS acl UNION ALL "
    "SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid AND NOT attisdropped) g "
    "CROSS JOIN LATERAL aclexplode(g.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee "
    "WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace = to_regnamespace(current_schema()) "
    "AND a.grantee <> c.relowner AND (a.grantee = 0 OR r.oid IS NOT NULL) ORDER BY 1, 2, 3, 4"
)
_EXISTS = sa.text(
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(:relation)) "
    "AND NOT attisdropped AND attname = coalesce(:column, attname))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A privilege on a table or a view that a role other than its owner has."""

    relation: str
    column: str | None
    """None for all of the relation."""
    role: str | None
    """None for PUBLIC, which is every role."""
    privilege: str
    is_grantable: bool


def granted(conn: Connection) -> Sequence[Grant]:
    """Return the privileges on tables, views and their columns in this schema; SQLite has none."""
    if conn.dialect.name != "postgresql":
        return ()
    return [Grant(**row) for row in conn.execute(_GRANTED).mappings()]


def restore(conn: Connection, grants: Sequence[Grant]) -> None:
    """Grant again what is missing of `grants`, on the relations and columns that still exist."""
    kept = set(granted(conn))
    quote = conn.dialect.identifier_preparer.quote_identifier
    for grant in grants:
        named = {"relation": grant.relation, "column": grant.column}
        if grant not in kept and conn.scalar(_EXISTS, named):
            role = "PUBLIC" if grant.role is None else quote(grant.role)
            option = " WITH GRANT OPTION" if grant.is_grantable else ""
            columns = "" if grant.column is None else f" ({quote(grant.column)})"
            conn.exec_driver_sql(
                f"GRANT {grant.privilege}{columns} ON {quote(grant.relation)} TO {role}{option}"
            )
