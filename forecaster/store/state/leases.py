"""Leases: which replica works on a dataset, and which replicas are there.

The clock of the database decides when one expires, on SQLite that of the machine. A token grows
whenever the holder changes, and never falls below one that a run was claimed under: not even after
the table was restored from a backup. Whoever writes under a lease holds its row (`limits`), so a
lease is renewed, but not taken over, while such a transaction is under way.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import (
    ColumnElement,
    Connection,
    case,
    delete,
    func,
    or_,
    select,
    text,
    true,
    update,
)

from forecaster.store.column_types import Instant
from forecaster.store.connection.limits import Fence, is_held
from forecaster.store.state import datasets
from forecaster.store.tables import leases, runs
from forecaster.store.upserts import insert_or

NOBODY = ""
"""The holder of a lease that was given back."""

_DATASET, _MEMBER = "dataset/", "replica/"
_SQLITE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
_SESSIONS = """FROM pg_stat_activity WHERE datname = current_database()
    AND usename = current_user AND pid <> pg_backend_pid()"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A row as it was found; `left` until it expires by the clock of the database."""

    name: str
    holder: str
    token: int
    expires_at: datetime
    left: timedelta = field(compare=False)

    @property
    def dataset(self) -> str | None:
        """The dataset that it is about, None for the heartbeat of a replica."""
        return self.name.removeprefix(_DATASET) if self.name.startswith(_DATASET) else None

    @property
    def is_member(self) -> bool:
        return self.name.startswith(_MEMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSnapshot:
    """All leases at one instant of the database's clock, by name."""

    now: datetime
    leases: Mapping[str, Lease]


def of_dataset(dataset: str) -> str:
    """Return the name of the lease to work on a dataset."""
    return f"{_DATASET}{dataset}"


def of_member(holder: str) -> str:
    """Return the name of the lease that is the heartbeat of a replica."""
    return f"{_MEMBER}{holder}"


def session_name(holder: str) -> str:
    """Return the application name of a holder's sessions, by which a successor ends them."""
    return f"forecaster-{hashlib.sha256(holder.encode()).hexdigest()[:16]}"


def read_all(conn: Connection) -> LeaseSnapshot:
    """Read all leases, and the clock of the database, in one statement."""
    clock = select(_now(conn).label("now")).subquery()
    rows = conn.execute(select(clock.c.now, leases).select_from(clock).outerjoin(leases, true()))
    leases_by_name = {}
    for row in rows:
        values = dict(row._mapping)
        now = values.pop("now")
        if row.name is not None:
            leases_by_name[row.name] = Lease(**values, left=row.expires_at - now)
    return LeaseSnapshot(now=now, leases=leases_by_name)


def find(conn: Connection, name: str) -> Lease | None:
    """Read one lease."""
    return read_all(conn).leases.get(name)


def acquire(
    conn: Connection, name: str, holder: str, ttl: timedelta, *, over: Lease | None = None
) -> Fence | None:
    """Take a lease that is free, expired or own, or one that still equals `over`.

    None when another has it. The token stays if the holder does, unless a run knows a greater one.
    """
    known = _greatest_token(name)
    insert = insert_or(conn, leases)
    new = insert.excluded
    stays = (leases.c.holder == new.holder) & (leases.c.token >= known)
    statement = insert.values(
        name=name, holder=holder, token=known + 1, expires_at=_expiry(conn, ttl)
    ).on_conflict_do_update(
        index_elements=["name"],
        set_={
            "holder": new.holder,
            "expires_at": new.expires_at,
            "token": case(
                (stays, leases.c.token),
                (leases.c.token >= new.token, leases.c.token + 1),
                else_=new.token,
            ),
        },
        where=or_(
            leases.c.holder.in_([holder, NOBODY]), leases.c.expires_at <= _now(conn), *_is(over)
        ),
    )
    token = conn.scalar(statement.returning(leases.c.token))
    return None if token is None else Fence(name=name, holder=holder, token=token)


def renew(conn: Connection, holder: str, ttl: timedelta) -> dict[str, int]:
    """Renew all leases of a holder, expired ones too; return their tokens by name.

    The token is not updated, so that transactions that hold the row do not block this.
    """
    rows = conn.execute(
        update(leases)
        .where(leases.c.holder == holder)
        .values(expires_at=_expiry(conn, ttl))
        .returning(leases.c.name, leases.c.token)
    )
    return {row.name: row.token for row in rows}


def release(conn: Connection, fences: Iterable[Fence]) -> None:
    """Release leases, so that they need not expire; the token stays known."""
    for fence in fences:
        conn.execute(
            update(leases).where(is_held(fence)).values(holder=NOBODY, expires_at=_now(conn))
        )


def delete_member(conn: Connection, holder: str) -> None:
    """Record that a replica is no longer there."""
    conn.execute(delete(leases).where(leases.c.name == of_member(holder)))


def delete_gone_members(conn: Connection, gone_for: timedelta) -> None:
    """Delete the leases of replicas that ended without a shutdown."""
    since = _expiry(conn, -gone_for)
    conn.execute(
        delete(leases).where(leases.c.name.startswith(_MEMBER), leases.c.expires_at < since)
    )


def disconnected_holders(conn: Connection, holders: Iterable[str]) -> set[str]:
    """Return the holders that are not connected; none where that is unknown.

    That is on SQLite, and behind a connection pooler such as PgBouncer: there a session of the
    server bears the name of whoever used it last, and an idle replica has none at all.
    """
    wanted = {session_name(holder): holder for holder in holders}
    if not wanted or conn.dialect.name != "postgresql" or _is_pooled(conn):
        return set()
    connected = set(conn.scalars(text(f"SELECT DISTINCT application_name {_SESSIONS}")))
    return {holder for name, holder in wanted.items() if name not in connected}


def end_sessions(conn: Connection, holder: str) -> int:
    """End what a former holder still has open on PostgreSQL; return how many sessions.

    A process that was stopped cannot give its locks back by itself.
    """
    if conn.dialect.name != "postgresql":
        return 0
    end = text(f"SELECT pg_terminate_backend(pid) {_SESSIONS} AND application_name = :name")
    return len(conn.execute(end, {"name": session_name(holder)}).all())


def _is_pooled(conn: Connection) -> bool:
    """Return whether a pooler stands before the server: the process it names is then another."""
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    serving: int | None = conn.scalar(text("SELECT pg_backend_pid()"))
    return driver.info.backend_pid != serving


def _greatest_token(name: str) -> ColumnElement[int]:
    if not name.startswith(_DATASET):
        return sa.literal(0)
    owner = datasets.id_of(name.removeprefix(_DATASET)).scalar_subquery()
    greatest = select(func.max(runs.c.token)).where(runs.c.dataset_id == owner)
    return func.coalesce(greatest.scalar_subquery(), 0)


def _is(expected: Lease | None) -> list[ColumnElement[bool]]:
    if expected is None:
        return []
    return [
        (leases.c.holder == expected.holder)
        & (leases.c.token == expected.token)
        & (leases.c.expires_at == expected.expires_at)
    ]


def _now(conn: Connection) -> ColumnElement[datetime]:
    if conn.dialect.name == "postgresql":
        return func.clock_timestamp(type_=Instant)
    return sa.literal_column(_SQLITE_NOW, Instant)


def _expiry(conn: Connection, ttl: timedelta) -> ColumnElement[Any]:
    if conn.dialect.name == "postgresql":
        return func.clock_timestamp() + sa.literal(ttl, sa.Interval())
    microseconds = ttl // timedelta(microseconds=1)
    return sa.literal_column(f"{_SQLITE_NOW} + {microseconds:d}", sa.Integer())
