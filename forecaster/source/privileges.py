"""What the role and the columns of a PostgreSQL source are."""

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
    """What a source shows of itself without a row being read."""

    writable: tuple[str, ...]
    """Tables that the role may write, as few as show it."""
    types: Mapping[str, str | None]
    """Names of the types of the columns; None for a type made by a user, and arrays."""

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Shape":
        """Undo `to_json`."""
        found = json.loads(text)
        return cls(writable=tuple(found["writable"]), types=found["types"])


def look(conn: Connection, asked: SourceQuery) -> Shape:
    """Return what a PostgreSQL source shows; DataError when the query lacks a column."""
    writable = tuple(conn.scalars(_MAY_WRITE).fetchmany(_SHOWN))
    return Shape(writable=writable, types=query.types(conn, asked))
