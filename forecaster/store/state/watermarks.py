"""How far a job has come: one instant for each dataset and name, and what else it has to keep."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from forecaster.store.state import datasets
from forecaster.store.tables import watermarks
from forecaster.store.upserts import insert_or


def get(conn: Connection, dataset: str, name: str) -> datetime | None:
    """Return the watermark; None before it was first set."""
    return conn.scalar(
        select(watermarks.c.instant).where(
            watermarks.c.dataset_id.in_(datasets.id_of(dataset)), watermarks.c.name == name
        )
    )


def state(conn: Connection, dataset: str, name: str) -> dict[str, Any] | None:
    """Return what was kept beside the watermark; None before anything was."""
    document: dict[str, Any] | None = conn.scalar(
        select(watermarks.c.state).where(
            watermarks.c.dataset_id.in_(datasets.id_of(dataset)), watermarks.c.name == name
        )
    )
    return document


def keep(
    conn: Connection, dataset: str, name: str, document: Mapping[str, Any], *, now: datetime
) -> None:
    """Keep a JSON object under a name, unless one of a later `now` is kept: of two concurrent
    writers the one that began later wins."""
    insert = insert_or(conn, watermarks)
    columns = ("instant", "updated_at", "state")
    conn.execute(
        insert.on_conflict_do_update(
            index_elements=["dataset_id", "name"],
            set_={column: insert.excluded[column] for column in columns},
            where=watermarks.c.instant <= insert.excluded.instant,
        ),
        {
            "dataset_id": datasets.dataset_id(conn, dataset),
            "name": name,
            "instant": now,
            "updated_at": now,
            "state": dict(document),
        },
    )


def advance(conn: Connection, dataset: str, name: str, instant: datetime, *, now: datetime) -> None:
    """Move the watermark to `instant`; it never moves back."""
    insert = insert_or(conn, watermarks)
    conn.execute(
        insert.on_conflict_do_update(
            index_elements=["dataset_id", "name"],
            set_={"instant": insert.excluded.instant, "updated_at": insert.excluded.updated_at},
            where=watermarks.c.instant < insert.excluded.instant,
        ),
        {
            "dataset_id": datasets.dataset_id(conn, dataset),
            "name": name,
            "instant": instant,
            "updated_at": now,
        },
    )
