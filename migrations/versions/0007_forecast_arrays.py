"""Tables for forecasts with one row per series, cutoff and model; the next revision fills them.

Until it has, what writes forecasts is refused, so that none is left behind. Imports nothing of
ours: a migration is frozen history.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Integer(), "sqlite")
DOUBLE: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
REAL_ARRAY: sa.types.TypeEngine[Any] = postgresql.ARRAY(sa.REAL()).with_variant(sa.Text(), "sqlite")
PACKED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

MESSAGE = "forecasts are being rewritten, run forecaster db upgrade"
BOUNDS = """SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST('forecasts' AS regclass) ORDER BY 1"""


def upgrade() -> None:
    _create_timestamps()
    _create_arrays()
    _refuse_writes()


def downgrade() -> None:
    op.execute(f"DROP TRIGGER being_rewritten {'' if _is_sqlite() else 'ON forecasts'}")
    if not _is_sqlite():
        op.execute("DROP FUNCTION forecasts_are_being_rewritten()")
    op.drop_table("forecast_arrays")
    op.drop_table("forecast_timestamps")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _create_timestamps() -> None:
    op.create_table(
        "forecast_timestamps",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("cutoff", INSTANT, nullable=False),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "cutoff", "timestamp", name="pk_forecast_timestamps"),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name="fk_forecast_timestamps_model_id"
        ),
        **PACKED,
    )


def _create_arrays() -> None:
    # SQLite cannot rename constraints, and their names need not be unique there.
    name = "forecasts" if _is_sqlite() else "forecast_arrays"
    low, high = ("-9e999", "9e999") if _is_sqlite() else ("'-Infinity'", "'Infinity'")
    op.create_table(
        "forecast_arrays",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("cutoff", INSTANT, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("issued_at", INSTANT, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hindsight", FLAG, nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("level", DOUBLE, nullable=False),
        sa.Column("parts", REAL_ARRAY, nullable=False),
        sa.Column("deviations", REAL_ARRAY, nullable=False),
        sa.PrimaryKeyConstraint("series_id", "cutoff", "model_id", name=f"pk_{name}"),
        sa.CheckConstraint(f"level > {low} AND level < {high}", name=f"ck_{name}_level_finite"),
        sqlite_strict=True,
        postgresql_partition_by="RANGE (cutoff)",
    )
    if _is_sqlite():
        return
    for column in ("parts", "deviations"):
        op.execute(f"ALTER TABLE forecast_arrays ALTER COLUMN {column} SET STORAGE MAIN")
    quote = op.get_bind().dialect.identifier_preparer.quote_identifier
    for name, bound in op.get_bind().execute(sa.text(BOUNDS)).all():
        new = quote(name.replace("forecasts", "forecast_arrays", 1))
        op.get_bind().exec_driver_sql(
            f"CREATE TABLE {new} PARTITION OF forecast_arrays {bound}"
            " WITH (toast_tuple_target = 8160)"
        )


def _refuse_writes() -> None:
    if _is_sqlite():
        op.execute(f"""CREATE TRIGGER being_rewritten BEFORE INSERT ON forecasts
            BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END""")
        return
    op.execute(f"""CREATE FUNCTION forecasts_are_being_rewritten() RETURNS trigger
        LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{MESSAGE}'; END $$""")
    op.execute("""CREATE TRIGGER being_rewritten BEFORE INSERT ON forecasts
        FOR EACH STATEMENT EXECUTE FUNCTION forecasts_are_being_rewritten()""")
