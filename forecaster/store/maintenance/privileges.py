"""Privileges of the connected role: those that jobs need."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from forecaster.store.connection.engine import reading, writing
from forecaster.store.maintenance.partitions import PARTITIONED
from forecaster.store.tables import metadata

_NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE")

_SESSION = sa.text(
    "SELECT current_user, current_setting('server_version'), "
    "pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on', "
    "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
)
_ON_TABLES = sa.text(
    "SELECT tables.name, needed.privilege "
    "FROM unnest(CAST(:tables AS text[])) AS tables(name), "
    "unnest(CAST(:needed AS text[])) AS needed(privilege) "
    "WHERE to_regclass(quote_ident(tables.name)) IS NOT NULL "
    "AND NOT has_table_privilege(to_regclass(quote_ident(tables.name)), needed.privilege) "
    "ORDER BY 1, 2"
)
_NOT_OWNED = sa.text(
    "SELECT relname FROM pg_class WHERE oid = ANY (ARRAY(SELECT to_regclass(quote_ident(name)) "
    "FROM unnest(CAST(:tables AS text[])) AS partitioned(name))) "
    "AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """Privileges of the connected role."""

    product: str
    role: str | None
    """None where a database has no roles."""
    is_read_only: bool = False
    may_create: bool = True
    """Whether it can create tables and partitions."""
    lacking: tuple[str, ...] = ()
    """Missing privileges on tables, such as `INSERT ON runs`."""
    not_owned: tuple[str, ...] = ()
    """Partitioned tables that it cannot add partitions to."""


def of_database(engine: Engine) -> Privileges:
    """Return the privileges; on SQLite begin a write transaction. StoreError when that fails."""
    if engine.dialect.name == "sqlite":
        with writing(engine) as conn:
            version = conn.scalar(sa.text("SELECT sqlite_version()"))
        return Privileges(product=f"sqlite {version}", role=None)
    with reading(engine) as conn:
        role, version, is_read_only, may_create = conn.execute(_SESSION).one()
        tables = {"tables": list(metadata.tables), "needed": list(_NEEDED)}
        lacking = conn.execute(_ON_TABLES, tables).all()
        not_owned = conn.scalars(_NOT_OWNED, {"tables": list(PARTITIONED)}).all()
    return Privileges(
        product=f"postgresql {version.split()[0]}",
        role=role,
        is_read_only=is_read_only,
        may_create=may_create,
        lacking=tuple(f"{privilege} ON {table}" for table, privilege in lacking),
        not_owned=tuple(not_owned),
    )
