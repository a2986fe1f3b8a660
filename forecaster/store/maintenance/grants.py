"""Privileges survive an upgrade: a migration that replaces a table or a view drops its grants."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

_GRANTED = sa.text(
    "SELECT c.relname AS relation, r.rolname AS role, a.privilege_type AS privilege, "
    "a.is_grantable FROM pg_class c "
    "CROSS JOIN LATERAL aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee "
    "WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace = to_regnamespace(current_schema()) "
    "AND a.grantee <> c.relowner ORDER BY 1, 2, 3"
)
_EXISTS = sa.text("SELECT to_regclass(quote_ident(:relation)) IS NOT NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A privilege on a table or a view that a role other than its owner has."""

    relation: str
    role: str | None
    """None for PUBLIC, which is every role."""
    privilege: str
    is_grantable: bool


def granted(conn: Connection) -> Sequence[Grant]:
    """Return the privileges on tables and views of this schema; SQLite has none."""
    if conn.dialect.name != "postgresql":
        return ()
    return [Grant(**row) for row in conn.execute(_GRANTED).mappings()]


def restore(conn: Connection, grants: Sequence[Grant]) -> None:
    """Grant again what is missing of `grants`, on the tables and views that still exist."""
    kept = set(granted(conn))
    quote = conn.dialect.identifier_preparer.quote_identifier
    for grant in grants:
        if grant not in kept and conn.scalar(_EXISTS, {"relation": grant.relation}):
            role = "PUBLIC" if grant.role is None else quote(grant.role)
            option = " WITH GRANT OPTION" if grant.is_grantable else ""
            conn.exec_driver_sql(
                f"GRANT {grant.privilege} ON {quote(grant.relation)} TO {role}{option}"
            )
