"""Forecasts have one row per series, cutoff and model, whose numbers are arrays.

`prepare` rewrites the rows of some series; it is called in transactions of its own until none is
left, so that an upgrade that is killed goes on where it was and needs little memory. The old table
stays whole, and the views show it, until the last transaction replaces it. Where a forecast lacks
the row of a step, as closed ones do, its numbers are null, or NaN on PostgreSQL.

Imports nothing of ours: a migration is frozen history.
"""

import importlib.util
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Integer(), "sqlite")
DOUBLE: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
PACKED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

SERIES_AT_ONCE = 50
KEY = ("series_id", "cutoff", "model_id")
MADE = ("issued_at", "origin", "status", "level")
COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "series_id": sa.Integer(),
    "cutoff": INSTANT,
    "model_id": sa.Integer(),
    "step": sa.Integer(),
    "timestamp": INSTANT,
    "issued_at": INSTANT,
    "origin": sa.Text(),
    "status": sa.Text(),
    "level": DOUBLE,
}
LEVELS = ("025", "05", "10", "20", "30", "40", "50", "60", "70", "80", "90", "95", "975")
DEVIATIONS = tuple(f"d{level}" for level in LEVELS)
PARTS = ("copied", "last_value", "residual", "adjustment")
ARRAYS = {"parts": PARTS, "deviations": DEVIATIONS}
VIEWS = ("all_forecasts", "latest_forecasts", "forecast_parts", "forecast_vs_actual")

BOUNDS = """SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY 1"""
PARTITIONS = """SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY 1"""
INDEXES = """SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
WHERE x.indrelid = CAST(:parent AS regclass) OR x.indrelid IN (
    SELECT inhrelid FROM pg_inherits WHERE inhparent = CAST(:parent AS regclass)) ORDER BY 1"""


def prepare(conn: Connection) -> bool:
    """Rewrite the forecasts of the next few series; return whether there was any."""
    last = conn.exec_driver_sql("SELECT max(series_id) FROM forecast_arrays").scalar()
    series = conn.execute(
        sa.text("""SELECT s.id FROM series s WHERE s.id > :last
            AND EXISTS (SELECT 1 FROM forecasts f WHERE f.series_id = s.id)
            ORDER BY s.id LIMIT :most"""),
        {"last": -1 if last is None else last, "most": SERIES_AT_ONCE},
    ).scalars()
    if not (ids := series.all()):
        return False
    rows = f"FROM forecasts WHERE series_id BETWEEN {ids[0]} AND {ids[-1]}"
    conn.exec_driver_sql(f"""INSERT INTO forecast_timestamps (model_id, cutoff, timestamp, step)
        SELECT model_id, cutoff, timestamp, min(step) {rows} GROUP BY model_id, cutoff, timestamp
        ON CONFLICT DO NOTHING""")
    columns = ", ".join((*KEY, *MADE, "hindsight", "steps", *ARRAYS))
    conn.exec_driver_sql(f"INSERT INTO forecast_arrays ({columns}) {_arrays(conn, rows)}")
    return True


def upgrade() -> None:
    while prepare(op.get_bind()):
        pass
    _drop_views()
    op.drop_table("forecasts")  # and its trigger
    if not _is_sqlite():
        op.execute("DROP FUNCTION forecasts_are_being_rewritten()")
    _rename("forecast_arrays", "forecasts")


def downgrade() -> None:
    _rename("forecasts", "forecast_arrays")
    _create_rows()
    _sibling("0006_hindsight")._create_views(marked=True)
    _sibling("0007_forecast_arrays")._refuse_writes()


def _is(conn: Connection, dialect: str) -> bool:
    return conn.dialect.name == dialect


def _is_sqlite() -> bool:
    return _is(op.get_bind(), "sqlite")


def _sibling(name: str) -> Any:
    """Return the module of another revision: frozen as this one is."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arrays(conn: Connection, rows: str) -> str:
    """Return the SELECT of the rows of `rows` as arrays, with an element for every step."""
    steps = "SELECT n.step AS nth, f.* FROM numbers n LEFT JOIN forecasts f ON f.step = n.step"
    of_forecast = " AND ".join(f"f.{name} = k.{name}" for name in KEY)
    columns = ", ".join(
        f"(SELECT {_array(conn, names)} FROM ({steps} AND {of_forecast}"
        " WHERE n.step <= k.last ORDER BY nth) e)"
        for names in (PARTS, DEVIATIONS)
    )
    keys, once = ", ".join(KEY), ", ".join(f"min({name}) AS {name}" for name in MADE)
    flag = "max(hindsight)" if _is(conn, "sqlite") else "bool_or(hindsight)"
    return f"""WITH RECURSIVE numbers (step) AS (
            SELECT 1 UNION ALL SELECT step + 1 FROM numbers
            WHERE step < (SELECT max(step) {rows})),
        k AS (SELECT {keys}, {once}, {flag} AS hindsight, max(step) AS last {rows} GROUP BY {keys})
        SELECT {keys}, {", ".join(MADE)}, hindsight, last, {columns} FROM k"""


def _array(conn: Connection, names: tuple[str, ...]) -> str:
    """Return the aggregate of numbers; on SQLite nine digits, which tell every float32 apart."""
    listed = ", ".join(names)
    if not _is(conn, "sqlite"):
        numbers = ", ".join(f"coalesce({name}, 'NaN')" for name in names)
        return f"array_agg(CAST(ARRAY[{numbers}] AS real[]) ORDER BY nth)"
    nothing = f"[{','.join(['null'] * len(names))}]"
    numbers = f"printf('[{','.join(['%!.9g'] * len(names))}]', {listed})"
    return f"'[' || group_concat(CASE WHEN step IS NULL THEN '{nothing}' ELSE {numbers} END) || ']'"


def _rename(old: str, new: str) -> None:
    """Rename the table of arrays with its partitions, constraints and indexes."""
    op.rename_table(old, new)
    if _is_sqlite():
        return
    for kind, names in (("INDEX", INDEXES), ("TABLE", PARTITIONS)):
        for name in op.get_bind().scalars(sa.text(names), {"parent": new}).all():
            if old in name:
                op.execute(f"ALTER {kind} {_quoted(name)} RENAME TO {_quoted(name, old, new)}")
    check = "ck_{}_level_finite"
    op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {check.format(old)} TO {check.format(new)}")


def _quoted(name: str, old: str = "", new: str = "") -> str:
    quote = op.get_bind().dialect.identifier_preparer.quote_identifier
    return quote(name.replace(old, new, 1)).replace(":", r"\:")


def _create_rows() -> None:
    """Make the table with a row for each step again, from the arrays."""
    low, high = ("-9e999", "9e999") if _is_sqlite() else ("'-Infinity'", "'Infinity'")
    numbers = (*PARTS, *DEVIATIONS)
    op.create_table(
        "forecasts",
        *(sa.Column(name, kind, nullable=False) for name, kind in COLUMNS.items()),
        sa.Column("hindsight", FLAG, nullable=False, server_default=sa.false()),
        *(sa.Column(name, sa.REAL(), nullable=False) for name in numbers),
        sa.PrimaryKeyConstraint(*KEY, "step", name="pk_forecasts"),
        sa.CheckConstraint(f"level > {low} AND level < {high}", name="ck_forecasts_level_finite"),
        **PACKED,
        postgresql_partition_by="RANGE (cutoff)",
    )
    if not _is_sqlite():
        bounds = op.get_bind().execute(sa.text(BOUNDS), {"parent": "forecast_arrays"}).all()
        for name, bound in bounds:
            new = _quoted(name, "forecast_arrays", "forecasts")
            op.execute(f"CREATE TABLE {new} PARTITION OF forecasts {bound}".replace(":", r"\:"))
    names = ", ".join((*COLUMNS, "hindsight", *numbers))
    op.execute(f"INSERT INTO forecasts ({names}) SELECT {names} FROM ({_steps('forecast_arrays')})"
               f" f WHERE {PARTS[0]} IS NOT NULL")  # fmt: skip


def _drop_views() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")


def _steps(table: str) -> str:
    """Return the SELECT of a row for each step, with the numbers as columns."""
    numbers = ", ".join(
        f"{_element(array, place)} AS {name}"
        for array, names in ARRAYS.items()
        for place, name in enumerate(names)
    )
    return f"""SELECT f.*, t.step, t.timestamp, {numbers}
        FROM {table} f JOIN forecast_timestamps t
        ON t.model_id = f.model_id AND t.cutoff = f.cutoff AND t.step <= f.steps"""


def _element(array: str, place: int) -> str:
    if _is_sqlite():
        return f"json_extract(f.{array}, '$[' || (t.step - 1) || '][{place}]')"
    return f"f.{array}[t.step][{place + 1}]"
