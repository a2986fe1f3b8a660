"""How far a job has come: one instant for each dataset and name."""

from datetime import datetime

from sqlalchemy import Connection, select

from forecaster.store import datasets
from forecaster.store.dialects import insert_or
from forecaster.store.tables import watermarks


def get(conn: Connection, dataset: str, name: str) -> datetime | None:
    """Return the watermark; None before it was first set."""
    return conn.scalar(
        select(watermarks.c.instant).where(
            watermarks.c.dataset_id.in_(datasets.id_of(dataset)), watermarks.c.name == name
        )
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
