"""The privileges of the role, and the types of the columns, of a PostgreSQL source."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from forecaster.source import query
from forecaster.source.query import SourceQuery

_SHOWN = 3
_MAY_WRITE = sa.text(
    "SELECT format('%I.%I', nspname, relname) FROM pg_class "
    "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE relkind IN ('r', 'p', 'f') AND nspname <> 'information_schema' "
    "AND nspname NOT LIKE 'pg\\_%' AND has_schema_privilege(relnamespace, 'USAGE') "
    "AND has_table_privilege(pg_class.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') "
    "ORDER BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is known of a source without reading a row."""

    writable: tuple[str, ...]
    """Some of the tables that the role may write."""
    types: Mapping[str, str | None]
    """Names of the types of the columns; None for user-defined types and arrays."""

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Shape":
        """Undo `to_json`."""
        fields = json.loads(text)
        return cls(writable=tuple(fields["writable"]), types=fields["types"])


def read_shape(conn: Connection, request: SourceQuery) -> Shape:
    """Return the shape of a PostgreSQL source; DataError when the query lacks a column."""
    writable = tuple(conn.scalars(_MAY_WRITE).fetchmany(_SHOWN))
    return Shape(writable=writable, types=query.types(conn, request))
