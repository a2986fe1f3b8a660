"""The first tables.

Imports nothing of ours: a migration is frozen history.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Integer(), "sqlite")
DOUBLE: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
REAL_ARRAY: sa.types.TypeEngine[Any] = postgresql.ARRAY(sa.REAL()).with_variant(sa.Text(), "sqlite")
JSON = postgresql.JSONB().with_variant(sa.Text(), "sqlite")
PACKED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
NUMBERS = (
    "copied", "last_value", "residual", "adjustment",
    "d025", "d05", "d10", "d20", "d30", "d40", "d50", "d60", "d70", "d80", "d90", "d95", "d975",
)  # fmt: skip


def upgrade() -> None:
    _create_identities()
    _create_observations()
    _create_models()
    _create_forecasts()
    _create_attention()
    _create_accuracy()
    _create_runs()


def downgrade() -> None:
    for table in (
        "watermarks", "runs", "accuracy", "attention_patches", "attention", "forecasts", "models",
        "observations", "series", "datasets",
    ):  # fmt: skip
        op.drop_table(table)


def _finite(table: str, column: str) -> sa.CheckConstraint:
    sqlite = op.get_bind().dialect.name == "sqlite"
    low, high = ("-9e999", "9e999") if sqlite else ("'-Infinity'", "'Infinity'")
    return _check(table, f"{column}_finite", f"{column} > {low} AND {column} < {high}")


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=f"ck_{table}_{name}")


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _parent(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def _create_identities() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _key("datasets", "id"),
        sa.UniqueConstraint("name", name="uq_datasets_name"),
        sqlite_strict=True,
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        _key("series", "id"),
        _parent("series", "dataset_id", "datasets.id"),
        sa.UniqueConstraint("dataset_id", "key", name="uq_series_dataset_id"),
        sqlite_strict=True,
    )


def _create_observations() -> None:
    op.create_table(
        "observations",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("value", DOUBLE),
        _key("observations", "series_id", "timestamp", "recorded_at"),
        _parent("observations", "series_id", "series.id"),
        _finite("observations", "value"),
        **PACKED,
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("weights", sa.LargeBinary()),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("scores", JSON, nullable=False),
        sa.Column("parent_id", sa.Integer()),
        sa.Column("trained_from", INSTANT, nullable=False),
        sa.Column("trained_to", INSTANT, nullable=False),
        sa.Column("promoted_at", INSTANT),
        sa.Column("retired_at", INSTANT),
        sa.Column("reason", sa.Text()),
        _key("models", "id"),
        _parent("models", "dataset_id", "datasets.id"),
        _parent("models", "parent_id", "models.id"),
        sqlite_strict=True,
    )
    in_service = sa.text("promoted_at IS NOT NULL AND retired_at IS NULL")
    op.create_index(
        "uq_models_champion",
        "models",
        ["dataset_id"],
        unique=True,
        sqlite_where=in_service,
        postgresql_where=in_service,
    )


def _create_forecasts() -> None:
    table = "forecasts"
    op.create_table(
        table,
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("cutoff", INSTANT, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.Column("issued_at", INSTANT, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("level", DOUBLE, nullable=False),
        *(sa.Column(name, sa.REAL(), nullable=False) for name in NUMBERS),
        _key(table, "series_id", "cutoff", "model_id", "step"),
        _parent(table, "series_id", "series.id"),
        _parent(table, "model_id", "models.id"),
        _check(table, "step", "step >= 1"),
        _check(table, "origin", "origin IN ('live', 'backfill')"),
        _check(
            table,
            "status",
            "status IN ('ok', 'cold_start', 'fallback_naive', 'fallback_champion', 'hindsight')",
        ),
        _finite(table, "level"),
        **PACKED,
    )
    op.create_index(
        "ix_forecasts_series_id_timestamp_cutoff", table, ["series_id", "timestamp", "cutoff"]
    )


def _create_attention() -> None:
    op.create_table(
        "attention",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("cutoff", INSTANT, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("step_from", sa.Integer(), nullable=False),
        sa.Column("step_to", sa.Integer(), nullable=False),
        sa.Column("weights", REAL_ARRAY, nullable=False),
        _key("attention", "series_id", "cutoff", "model_id", "step_from"),
        _parent("attention", "series_id", "series.id"),
        _parent("attention", "model_id", "models.id"),
        _check("attention", "steps", "step_from >= 1 AND step_to >= step_from"),
        **PACKED,
    )
    op.create_table(
        "attention_patches",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("cutoff", INSTANT, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("patch", sa.Integer(), nullable=False),
        sa.Column("context_from", INSTANT, nullable=False),
        sa.Column("context_to", INSTANT, nullable=False),
        _key("attention_patches", "dataset_id", "cutoff", "model_id", "patch"),
        _parent("attention_patches", "dataset_id", "datasets.id"),
        _parent("attention_patches", "model_id", "models.id"),
        _check("attention_patches", "patch", "patch >= 1"),
        _check("attention_patches", "context", "context_to >= context_from"),
        **PACKED,
    )


def _create_accuracy() -> None:
    op.create_table(
        "accuracy",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("cutoff", INSTANT, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("lead", sa.Text(), nullable=False),
        sa.Column("scored_at", INSTANT, nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("absolute_error", DOUBLE, nullable=False),
        sa.Column("seasonal_naive_error", DOUBLE, nullable=False),
        sa.Column("bias", DOUBLE, nullable=False),
        sa.Column("pinball", DOUBLE, nullable=False),
        sa.Column("absolute_actual", DOUBLE, nullable=False),
        sa.Column("scale", DOUBLE, nullable=False),
        sa.Column("covered_50", sa.Integer(), nullable=False),
        sa.Column("covered_80", sa.Integer(), nullable=False),
        sa.Column("covered_95", sa.Integer(), nullable=False),
        sa.Column("width_80", DOUBLE, nullable=False),
        _key("accuracy", "series_id", "cutoff", "model_id", "lead"),
        _parent("accuracy", "series_id", "series.id"),
        _parent("accuracy", "model_id", "models.id"),
        **PACKED,
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("tick", INSTANT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", INSTANT),
        sa.Column("finished_at", INSTANT),
        sa.Column("report", JSON),
        sa.Column("error", sa.Text()),
        sa.Column("hint", sa.Text()),
        _key("runs", "id"),
        _parent("runs", "dataset_id", "datasets.id"),
        _check("runs", "state", "state IN ('running', 'succeeded', 'failed', 'missed')"),
        sa.UniqueConstraint("job", "dataset_id", "tick", name="uq_runs_job"),
        sqlite_strict=True,
    )
    op.create_table(
        "watermarks",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("instant", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        _key("watermarks", "dataset_id", "name"),
        _parent("watermarks", "dataset_id", "datasets.id"),
        **PACKED,
    )
