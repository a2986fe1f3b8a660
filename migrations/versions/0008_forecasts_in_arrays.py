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

OWNER = "JOIN series s ON s.id = f.series_id JOIN datasets d ON d.id = s.dataset_id"
LATEST_VERSION = """NOT EXISTS (
    SELECT 1 FROM observations newer
    WHERE newer.series_id = o.series_id AND newer.timestamp = o.timestamp
      AND newer.recorded_at > o.recorded_at)"""

WIDTH = "(f.timestamp - f.cutoff) / f.step"
MONTHS = "CASE WHEN {step} LIKE '%y' THEN 12 WHEN {step} LIKE '%mo' THEN 1 ELSE 0 END"
DAYS = "CASE WHEN {step} LIKE '%w' THEN 7 WHEN {step} LIKE '%d' THEN 1 ELSE 0 END"

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
    _create_views()


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    op.execute("DROP VIEW forecast_steps")
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
    return f"""SELECT f.series_id, f.cutoff, f.model_id, t.step, t.timestamp, f.issued_at, f.origin,
        f.status, f.hindsight, f.level, {numbers}
        FROM {table} f JOIN forecast_timestamps t
        ON t.model_id = f.model_id AND t.cutoff = f.cutoff AND t.step <= f.steps"""


def _element(array: str, place: int) -> str:
    if _is_sqlite():
        return f"json_extract(f.{array}, '$[' || (t.step - 1) || '][{place}]')"
    return f"f.{array}[t.step][{place + 1}]"


def _create_views() -> None:
    """Make the views again, on one that has a row for each step as the table had."""
    bodies = {
        "forecast_steps": _steps("forecasts"),
        "all_forecasts": f"{_columns()} FROM forecast_steps f {OWNER}",
        "latest_forecasts": _latest_forecasts(),
        "forecast_parts": _forecast_parts(),
        "forecast_vs_actual": _forecast_vs_actual(),
    }
    for name, body in bodies.items():
        op.execute(f"CREATE VIEW {name} AS {body}".replace(":", r"\:"))


def _quantiles(*levels: str) -> str:
    return ", ".join(f"f.level + f.d{level} AS q{level}" for level in levels)


def _instant(column: str) -> str:
    name = column.rpartition(".")[2]
    if not _is_sqlite():
        return f"{column} AS {name}"
    rest = f"(({column} % 1000000 + 1000000) % 1000000)"
    seconds = f"(({column} - {rest}) / 1000000)"
    fraction = f"CASE {rest} WHEN 0 THEN '' ELSE printf('.%06d', {rest}) END"
    return (
        f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || {fraction} || '+00:00' AS {name}"
    )


def _columns() -> str:
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.timestamp")}, f.step,
  {_instant("f.cutoff")}, {_instant("f.issued_at")}, f.model_id, f.origin,
  f.status, f.hindsight, {_quantiles(*LEVELS)}"""


def _latest_forecasts() -> str:
    """Return the view: keys alone are compared or sorted, and arrays read of what is left."""
    if _is_sqlite():
        return f"""{_columns()} FROM forecast_steps f {OWNER}
WHERE NOT f.hindsight AND NOT EXISTS (
    SELECT 1 FROM forecasts later CROSS JOIN forecast_timestamps t
    WHERE later.series_id = f.series_id AND later.cutoff >= f.cutoff
      AND later.cutoff < f.timestamp AND NOT later.hindsight
      AND t.model_id = later.model_id AND t.cutoff = later.cutoff AND t.timestamp = f.timestamp
      AND t.step <= later.steps
      AND (later.cutoff, later.issued_at, later.model_id) > (f.cutoff, f.issued_at, f.model_id))"""
    columns = _columns().replace("f.timestamp", "newest.timestamp")
    return f"""{columns}
FROM datasets d JOIN series s ON s.dataset_id = d.id CROSS JOIN LATERAL (
    SELECT DISTINCT ON (said.timestamp) said.timestamp, said.step, said.cutoff, said.model_id
    FROM forecast_steps said WHERE said.series_id = s.id AND NOT said.hindsight
    ORDER BY said.timestamp, said.cutoff DESC, said.issued_at DESC, said.model_id DESC) newest
JOIN forecast_steps f ON f.series_id = s.id AND f.cutoff = newest.cutoff
  AND f.model_id = newest.model_id AND f.timestamp = newest.timestamp"""


def _forecast_parts() -> str:
    double = "" if _is_sqlite() else "::float8"
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.cutoff")}, f.model_id, f.step,
  f.level, {", ".join(f"f.{part}{double} AS {part}" for part in PARTS)}
FROM forecast_steps f {OWNER}
WHERE f.status IN ('ok', 'cold_start', 'fallback_champion') AND NOT f.hindsight"""


def _forecast_vs_actual() -> str:
    """Return the view: one descent of the key where rows are stamped as the forecasts are."""
    columns = f"""d.name AS dataset, s.key AS series_id, {_instant("f.timestamp")}, f.step,
  {_instant("f.cutoff")}, f.model_id, {_quantiles("10", "50", "90")}"""
    mean = f"""(SELECT avg(o.value) FROM observations o
    WHERE o.series_id = f.series_id AND o.timestamp >= {_begin()} AND o.timestamp <= {_end()}
      AND o.value IS NOT NULL AND {LATEST_VERSION})"""
    actual = f"CASE WHEN o.value IS NOT NULL AND {_is_exact()} THEN o.value ELSE {mean} END"
    source = f"""FROM forecast_steps f {OWNER} JOIN models m ON m.id = f.model_id
LEFT JOIN observations o ON o.series_id = f.series_id AND o.timestamp = f.timestamp
  AND o.value IS NOT NULL AND {LATEST_VERSION}"""
    limits = f"NOT f.hindsight AND ({_is_exact()} OR {_is_over()})"
    if _is_sqlite():
        rows = f"SELECT {columns}, {actual} AS actual {source} WHERE {limits}"
        return f"SELECT * FROM ({rows}) WHERE actual IS NOT NULL"
    return f"""SELECT {columns}, a.actual {source}
CROSS JOIN LATERAL (SELECT {actual} OFFSET 0) AS a (actual)
WHERE {limits} AND a.actual IS NOT NULL"""


def _is_exact() -> str:
    """Return what tells that rows are stamped as the timestamps of their cells, or nearly all."""
    marks, spread = _setting("timestamp_marks"), _setting("spread")
    is_on_grid = f"COALESCE({marks}, 'instant') = 'instant' AND COALESCE({spread}, '0') = '0'"
    if _is_sqlite():
        is_on_grid = is_on_grid.replace("'0'", "0")
    return f"f.model_id IN (SELECT m.id FROM models m WHERE {is_on_grid})"


def _setting(name: str) -> str:
    return f"json_extract(m.config, '$.{name}')" if _is_sqlite() else f"(m.config ->> '{name}')"


def _is_calendar() -> str:
    step = _setting("step")
    return f"({step} LIKE '%d' OR {step} LIKE '%w' OR {step} LIKE '%mo' OR {step} LIKE '%y')"


def _marks(which: str) -> str:
    return f"COALESCE({_setting('timestamp_marks')}, 'instant') = '{which}'"


def _later() -> str:
    """Return the timestamp of the next cell."""
    calendar = _added_postgres("+") if not _is_sqlite() else _other_step("+", _added_sqlite("+"))
    return f"CASE WHEN {_is_calendar()} THEN {calendar} ELSE f.timestamp + {WIDTH} END"


def _earlier() -> str:
    """Return the timestamp of the cell before."""
    calendar = _added_postgres("-") if not _is_sqlite() else _other_step("-", _added_sqlite("-"))
    return f"CASE WHEN {_is_calendar()} THEN {calendar} ELSE f.timestamp - {WIDTH} END"


def _added_postgres(sign: str) -> str:
    """Return one step of days or months more or less, on the clock of the grid."""
    step, zone = _setting("step"), _setting("timezone")
    count = f"CAST(substring({step} from '^[0-9]+') AS integer)"
    months, days = (f"{count} * ({text.format(step=step)})" for text in (MONTHS, DAYS))
    length = f"make_interval(months => {months}, days => {days})"
    return f"((f.timestamp AT TIME ZONE {zone}) {sign} {length}) AT TIME ZONE {zone}"


def _added_sqlite(sign: str) -> str:
    """Return the same where nothing knows zones: a day has 24 hours, and a month is added at an
    hour at which no zone is in another month."""
    step = _setting("step")
    count = f"{sign}1 * CAST({step} AS INTEGER)"
    months, days = (f"{count} * ({text.format(step=step)})" for text in (MONTHS, DAYS))
    noon = "f.timestamp / 1000000 + 14 * 3600"
    moved = f"CAST(strftime('%s', {noon}, 'unixepoch', ({months}) || ' months') AS INTEGER)"
    return f"({moved} - 14 * 3600 + {days} * 86400) * 1000000"


def _other_step(sign: str, otherwise: str) -> str:
    """Return the timestamp of the next step or the one before, which may be the cutoff."""
    cutoff = "CASE f.step WHEN 1 THEN f.cutoff END" if sign == "-" else "NULL"
    return f"""COALESCE({cutoff}, (SELECT n.timestamp FROM forecast_timestamps n
    WHERE n.cutoff = f.cutoff AND n.model_id = f.model_id
      AND n.step = f.step {sign} 1), {otherwise})"""


def _microsecond() -> str:
    return "1" if _is_sqlite() else "interval '1 microsecond'"


def _begin() -> str:
    return f"CASE WHEN {_marks('end')} THEN {_earlier()} + {_microsecond()} ELSE f.timestamp END"


def _end() -> str:
    return f"CASE WHEN {_marks('end')} THEN f.timestamp ELSE {_later()} - {_microsecond()} END"


def _is_over() -> str:
    """Return what tells that no more rows of the cell are to come, as far as rows can tell."""
    return f"(NOT {_marks('start')} OR d.newest_observation >= {_later()})"
