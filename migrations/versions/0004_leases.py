"""Leases with fencing tokens, and what a running service notes of itself.

Imports nothing of ours: a migration is frozen history.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Integer(), "sqlite")
LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = postgresql.JSONB().with_variant(sa.Text(), "sqlite")
PACKED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

NEWEST_TOKEN = "ix_runs_dataset_id_token"
NEW: tuple[tuple[str, str, sa.types.TypeEngine[Any]], ...] = (
    ("runs", "token", LONG),
    ("runs", "progress", sa.REAL()),
    ("models", "damaged_at", INSTANT),
    ("datasets", "config", JSON),
)


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("token", LONG, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
        sa.UniqueConstraint("name", "token", name="uq_leases_name"),
        **PACKED,
    )
    for table, column, kind in NEW:
        op.add_column(table, sa.Column(column, kind))
    op.create_index(NEWEST_TOKEN, "runs", ["dataset_id", "token"])


def downgrade() -> None:
    op.drop_index(NEWEST_TOKEN, "runs")
    for table, column, _ in reversed(NEW):
        op.drop_column(table, column)
    op.drop_table("leases")
