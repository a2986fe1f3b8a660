"""Conditions on time: bounds in the form in which a source stores its timestamps.

Rows are filtered again, exactly, once their timestamps are instants. These conditions
may let rows through that lie outside, never the reverse. Odd rows, which have no timestamp or one
that is out of range (infinity, 9999-12-31, text that does not begin with a year from 1900 to 2199),
are let through as well where asked: they are rejected later, and counted.
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import sqlalchemy as sa
from sqlalchemy import BindParameter, ColumnElement, Connection

from forecaster.source import text_order
from forecaster.times import timestamp_numbers
from forecaster.times.durations import Step

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_CLOCK_CHANGE = timedelta(hours=2)
_DAY = timedelta(days=1)
DATED = ("timestamptz", "timestamp", "date")
_SAMPLE = 100
"""How many numbers are checked for being instants."""
_PER_SECOND = (1, 1_000, 1_000_000, 1_000_000_000)
_LARGEST = 2**63 - 1

_Bounds = tuple[Any, Any, sa.types.TypeEngine[Any]]

_FIRST_DAY: ColumnElement[Any] = sa.literal_column("'1900-01-01'")
_LAST_DAY: ColumnElement[Any] = sa.literal_column("'2200-01-01'")


def within(
    conn: Connection,
    timestamp: ColumnElement[Any],
    since: datetime,
    until: datetime,
    *,
    timezone: str | None,
    odd: bool = True,
) -> list[ColumnElement[bool]]:
    """Return conditions on a timestamp column; none where its form does not sort.

    DataError for a column of numbers that are ambiguous as instants.
    """
    declared = _declared(conn, timestamp)
    ranges = _comparable(conn, timestamp, declared, (since, until), timezone)
    if not ranges:
        return []
    inside = [_between(timestamp, low, high, kind) for low, high, kind in ranges]
    if not odd:
        return [sa.or_(*inside)]
    is_text = isinstance(ranges[0][2], sa.Text)
    return [
        sa.or_(*inside, timestamp.is_(None), *_out_of_range(timestamp, declared, is_text=is_text))
    ]


def _between(
    timestamp: ColumnElement[Any], low: Any, high: Any, kind: sa.types.TypeEngine[Any]
) -> ColumnElement[bool]:
    return timestamp.between(sa.bindparam(None, low, kind), sa.bindparam(None, high, kind))


def _out_of_range(
    timestamp: ColumnElement[Any], declared: str | None, *, is_text: bool
) -> list[ColumnElement[bool]]:
    if is_text:
        return text_order.among(timestamp, text_order.NO_YEAR)
    if declared in DATED:
        return [timestamp < _FIRST_DAY, timestamp >= _LAST_DAY]
    return []


def margin(step: Step) -> timedelta:
    """Return by how much `:since` and `:until` lie outside what is wanted.

    A query may add up the rows of a step, or of a day, or a longer span of the calendar: whatever
    is wanted of its sums is complete, wherever in their spans these have their timestamps.
    """
    if not step.is_calendar:
        return step.approximate
    return -(-step.approximate // _DAY) * _DAY + _DAY  # months differ, and so do clocks


def for_parameters(dialect: str, since: datetime, until: datetime) -> dict[str, BindParameter[Any]]:
    """Return the values of `:since` and `:until` in a user's own query.

    Instants; in SQLite, which has none, dates as text, a day or more further out, so that they
    compare rightly with 2026-11-20T09:00 and with 2026-11-20 09:00 alike.
    """
    low, high, kind = (
        _text(since, until) if dialect == "sqlite" else (since, until, sa.TIMESTAMP(timezone=True))
    )
    return {"since": sa.bindparam("since", low, kind), "until": sa.bindparam("until", high, kind)}


def without_end() -> dict[str, BindParameter[Any]]:
    """Return values of `:since` and `:until` between which all text of SQLite lies."""
    low, high = text_order.NO_YEAR[0][0], text_order.NO_YEAR[-1][1]
    return {
        name: sa.bindparam(name, end, sa.Text()) for name, end in (("since", low), ("until", high))
    }


def _comparable(
    conn: Connection,
    timestamp: ColumnElement[Any],
    declared: str | None,
    between: tuple[datetime, datetime],
    timezone: str | None,
) -> list[_Bounds]:
    match declared:
        case "timestamptz":
            return [_instants(*between)]
        case "timestamp" | "date":
            return [_wall_clock(*between, timezone)]
    match conn.scalar(sa.select(timestamp).where(timestamp.is_not(None)).limit(1)):
        case datetime(tzinfo=None):
            return [_wall_clock(*between, timezone)]
        case datetime():
            return [_instants(*between)]
        case date():
            return [_wall_clock(*between, timezone)]
        case int() | float() | Decimal() if not _is_mixed(conn, timestamp, is_text=False):
            _require_instants(conn, timestamp)
            # One row does not show the unit of all; the ranges of the units do not overlap.
            return [
                *(_epoch(*between, per_second) for per_second in _PER_SECOND),
                *(_digits(*between, timezone, digits) for digits in timestamp_numbers.DIGITS),
            ]
        case str() as words if (
            _ISO_DATE.match(words)
            and text_order.is_ordered(conn, timestamp, between, timezone)
            and not _is_mixed(conn, timestamp, is_text=True)
        ):
            return [_text(*between)]
        case _:
            return []


def _is_mixed(conn: Connection, timestamp: ColumnElement[Any], *, is_text: bool) -> bool:
    """Return whether a SQLite column mixes numbers and text: any number sorts before any text."""
    if conn.dialect.name != "sqlite":
        return False
    least = sa.bindparam(None, "", sa.Text())
    other = timestamp < least if is_text else timestamp >= least
    return conn.execute(sa.select(sa.literal(1)).where(other).limit(1)).first() is not None


def _require_instants(conn: Connection, timestamp: ColumnElement[Any]) -> None:
    """Raise DataError for numbers that are no instants: no row would ever match."""
    query = sa.select(timestamp).where(timestamp.is_not(None))
    sample = _numbers(conn.scalars(query.limit(_SAMPLE)))
    if timestamp_numbers.is_certain(sample):
        return
    ends = conn.execute(sa.select(sa.func.min(timestamp), sa.func.max(timestamp))).one()
    if not timestamp_numbers.may_be_instants(_numbers(ends)):
        raise timestamp_numbers.ambiguity_error(sample, timestamp.key)


def _numbers(values: Iterable[Any]) -> list[Any]:
    return [number for number in values if isinstance(number, int | float | Decimal)]


def _declared(conn: Connection, timestamp: ColumnElement[Any]) -> str | None:
    """Return PostgreSQL's name of the type; reading a value could fail on `infinity`."""
    if conn.dialect.name != "postgresql":
        return None
    return declared_types(conn, sa.select(timestamp))[0]


def declared_types(conn: Connection, query: sa.Select[Any]) -> list[str | None]:
    """Return PostgreSQL's names of the types of all columns; None for a user-defined type."""
    cursor = conn.execute(query.limit(0)).cursor
    assert cursor is not None
    return [_type_name(column[1]) for column in cursor.description or ()]


def _type_name(code: Any) -> str | None:
    oid = int(code)
    info = psycopg.adapters.types.get(oid)
    # An array is listed under the name of its elements.
    return info.name if info is not None and info.oid == oid else None


def _instants(since: datetime, until: datetime) -> _Bounds:
    return since, until, sa.TIMESTAMP(timezone=True)


def _wall_clock(since: datetime, until: datetime, timezone: str | None) -> _Bounds:
    zone = ZoneInfo(timezone or "UTC")
    low, high = (instant.astimezone(zone).replace(tzinfo=None) for instant in (since, until))
    return low - _CLOCK_CHANGE, high + _CLOCK_CHANGE, sa.TIMESTAMP()


def _epoch(since: datetime, until: datetime, per_second: int) -> _Bounds:
    low, high = math.floor(since.timestamp()), math.ceil(until.timestamp())
    least, most = (max(-_LARGEST, min(second * per_second, _LARGEST)) for second in (low, high))
    return least, most, sa.BigInteger()


def _digits(since: datetime, until: datetime, timezone: str | None, digits: int) -> _Bounds:
    """Return dates and times on the wall clock whose digits are written together."""
    low, high, _ = _wall_clock(since, until, timezone)
    least, most = (int(f"{wall:%Y%m%d%H%M%S}"[:digits]) for wall in (low, high))
    return least, most, sa.BigInteger()


def _text(since: datetime, until: datetime) -> _Bounds:
    low, high = since.astimezone(UTC) - _DAY, until.astimezone(UTC) + 2 * _DAY
    return low.date().isoformat(), high.date().isoformat(), sa.Text()
