"""Kinds of columns, and how their values look on SQLite and PostgreSQL.

SQLite tables are STRICT: instants are INTEGER microseconds since 1970, arrays and documents are
JSON text.
"""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(sa.TypeDecorator[datetime]):
    """A moment in UTC; naive datetimes are rejected."""

    impl = sa.TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        stored = sa.Integer() if dialect.name == "sqlite" else sa.TIMESTAMP(timezone=True)
        return dialect.type_descriptor(stored)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a timestamp must have a time zone, found {value}")
        return (value - _EPOCH) // _MICROSECOND if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name == "sqlite":
            return None if value is None else _EPOCH + int(value) * _MICROSECOND
        stamp: datetime = value
        return stamp.astimezone(UTC)


class Json(sa.TypeDecorator[Any]):
    """A document; non-finite numbers become null, and NUL in text the symbol for it."""

    impl = sa.Text()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        stored = sa.Text() if dialect.name == "sqlite" else postgresql.JSONB(none_as_null=True)
        return dialect.type_descriptor(stored)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        kept = _storable(value)
        return json.dumps(kept, allow_nan=False) if dialect.name == "sqlite" else kept

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return json.loads(value) if isinstance(value, str) and dialect.name == "sqlite" else value


def printable(text: str) -> str:
    """Return `text` without NUL, which PostgreSQL keeps neither in text nor in documents."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _storable(value: Any) -> Any:
    match value:
        case dict():
            return {printable(str(name)): _storable(item) for name, item in value.items()}
        case list() | tuple():
            return [_storable(item) for item in value]
        case str():
            return printable(value)
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


Double: TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
RealArray: TypeEngine[Any] = postgresql.ARRAY(sa.REAL()).with_variant(sa.Text(), "sqlite")
Flag: TypeEngine[bool] = sa.Boolean().with_variant(sa.Integer(), "sqlite")
Long: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
