"""Large tables at the speed of the database: no foreign keys, one index, partitions by cutoff.

On PostgreSQL forecasts, attention and accuracy are partitioned by cutoff; rows that are there
move. On SQLite tables are rebuilt, in the order of their keys. Imports nothing of ours: a
migration is frozen history.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INSTANT = sa.TIMESTAMP(timezone=True).with_variant(sa.Integer(), "sqlite")
DOUBLE: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
REAL_ARRAY: sa.types.TypeEngine[Any] = postgresql.ARRAY(sa.REAL()).with_variant(sa.Text(), "sqlite")
JSON = postgresql.JSONB().with_variant(sa.Text(), "sqlite")
PACKED: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}

MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
WEEKS = timedelta(days=28)
PARTITIONED = ("forecasts", "attention", "accuracy")
FORECASTS_INDEX = "ix_forecasts_series_id_timestamp_cutoff"
KEYS = {
    "observations": ("series_id", "timestamp", "recorded_at"),
    "forecasts": ("series_id", "cutoff", "model_id", "step"),
    "attention": ("series_id", "cutoff", "model_id", "step_from"),
    "accuracy": ("series_id", "cutoff", "model_id", "lead"),
}
NEWEST = {"landed_at": "recorded_at", "newest_observation": "timestamp"}
STATUSES = "('ok', 'cold_start', 'fallback_naive', 'fallback_champion', 'hindsight')"

LEVELS = ("025", "05", "10", "20", "30", "40", "50", "60", "70", "80", "90", "95", "975")
PARTS = ("copied", "last_value", "residual", "adjustment")

OWNER = "JOIN series s ON s.id = {0}.series_id JOIN datasets d ON d.id = s.dataset_id"
LATEST_VERSION = """NOT EXISTS (
    SELECT 1 FROM observations newer
    WHERE newer.series_id = o.series_id AND newer.timestamp = o.timestamp
      AND newer.recorded_at > o.recorded_at)"""
# Whatever is asked for, one descent of the key for a series, whose rows alone are sorted.
LATEST_OF_EACH_SERIES = """
FROM datasets d JOIN series s ON s.dataset_id = d.id CROSS JOIN LATERAL (
    SELECT DISTINCT ON (said.timestamp) said.* FROM forecasts said
    WHERE said.series_id = s.id AND said.status <> 'hindsight'
    ORDER BY said.timestamp, said.cutoff DESC, said.issued_at DESC, said.model_id DESC) f"""
# Most are superseded at the next cutoff by the same model: two descents of the key tell. Only
# what is left has to be looked for among all cutoffs before the instant itself.
NOT_FOLLOWED = """AND NOT EXISTS (
    SELECT 1 FROM forecasts later
    WHERE later.series_id = f.series_id AND later.cutoff = (
        SELECT min(next.cutoff) FROM forecasts next
        WHERE next.series_id = f.series_id AND next.cutoff > f.cutoff)
      AND later.model_id = f.model_id AND later.step = f.step - 1
      AND later.timestamp = f.timestamp AND later.status <> 'hindsight')"""


def upgrade() -> None:
    _drop_views()
    for column, of in NEWEST.items():
        op.add_column("datasets", sa.Column(column, INSTANT))
        op.execute(f"""UPDATE datasets SET {column} = (
            SELECT max(o.{of}) FROM observations o JOIN series s ON s.id = o.series_id
            WHERE s.dataset_id = datasets.id)""")
    op.add_column("watermarks", sa.Column("state", JSON))
    if not _is_sqlite():
        op.drop_constraint("fk_observations_series_id", "observations")
    for table in KEYS if _is_sqlite() else PARTITIONED:
        _rebuild(table, bound=False)
    _create_views(indexed=False)


def downgrade() -> None:
    _drop_views()
    if not _is_sqlite():
        op.create_foreign_key(
            "fk_observations_series_id", "observations", "series", ["series_id"], ["id"]
        )
    for table in KEYS if _is_sqlite() else PARTITIONED:
        _rebuild(table, bound=True)
    op.create_index(FORECASTS_INDEX, "forecasts", ["series_id", "timestamp", "cutoff"])
    op.drop_column("watermarks", "state")
    for column in NEWEST:
        op.drop_column("datasets", column)
    _create_views(indexed=True)


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _rebuild(table: str, *, bound: bool) -> None:
    """Make the table anew and move its rows; `bound`: as it was, one table with its parents."""
    old = f"{table}_old"
    op.rename_table(table, old)
    if not _is_sqlite():
        op.drop_constraint(f"pk_{table}", old)
    columns = _columns(table)
    op.create_table(
        table,
        *columns,
        sa.PrimaryKeyConstraint(*KEYS[table], name=f"pk_{table}"),
        *(_parents(table) if bound else ()),
        *_checks(table, bound=bound),
        **PACKED | ({} if bound else {"postgresql_partition_by": "RANGE (cutoff)"}),
    )
    if not bound and not _is_sqlite():
        _create_partitions(table)
    names = ", ".join(column.name for column in columns)
    op.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {old}")
    op.drop_table(old)


def _create_partitions(table: str) -> None:
    """Make those that the rows of the old table need, each four weeks long."""
    number = f"floor(extract(epoch FROM cutoff - '{MONDAY}') / {WEEKS.total_seconds()})"
    query = sa.text(_escaped(f"SELECT DISTINCT CAST({number} AS integer) FROM {table}_old"))
    for found in sorted(op.get_bind().scalars(query)):
        lower = MONDAY + found * WEEKS
        op.execute(
            _escaped(
                f"CREATE TABLE {table}_{lower:%Y%m%d} PARTITION OF {table}"
                f" FOR VALUES FROM ('{lower}') TO ('{lower + WEEKS}')"
            )
        )


def _columns(table: str) -> list[sa.Column[Any]]:
    def needed(kind: Any, *names: str) -> Iterator[sa.Column[Any]]:
        return (sa.Column(name, kind, nullable=False) for name in names)

    integer, text = sa.Integer(), sa.Text()
    if table == "observations":
        key = [*needed(integer, "series_id"), *needed(INSTANT, "timestamp", "recorded_at")]
        return [*key, sa.Column("value", DOUBLE)]
    of_vintage = [
        *needed(integer, "series_id"), *needed(INSTANT, "cutoff"), *needed(integer, "model_id")
    ]  # fmt: skip
    if table == "attention":
        steps = needed(integer, "step_from", "step_to")
        return [*of_vintage, *steps, *needed(REAL_ARRAY, "weights")]
    if table == "forecasts":
        when = [*needed(integer, "step"), *needed(INSTANT, "timestamp", "issued_at")]
        said = [*needed(text, "origin", "status"), *needed(DOUBLE, "level")]
        return [*of_vintage, *when, *said, *needed(sa.REAL(), *PARTS, *(f"d{q}" for q in LEVELS))]
    errors = ("absolute_error", "seasonal_naive_error", "bias", "pinball", "absolute_actual")
    return [
        *of_vintage, *needed(text, "lead"), *needed(INSTANT, "scored_at"),
        *needed(integer, "points"), *needed(DOUBLE, *errors, "scale"),
        *needed(integer, "covered_50", "covered_80", "covered_95"), *needed(DOUBLE, "width_80"),
    ]  # fmt: skip


def _parents(table: str) -> Iterator[sa.ForeignKeyConstraint]:
    columns = ("series_id",) if table == "observations" else ("series_id", "model_id")
    for name in columns:
        target = f"{'series' if name == 'series_id' else 'models'}.id"
        yield sa.ForeignKeyConstraint([name], [target], name=f"fk_{table}_{name}")


def _checks(table: str, *, bound: bool) -> Iterator[sa.CheckConstraint]:
    low, high = ("-9e999", "9e999") if _is_sqlite() else ("'-Infinity'", "'Infinity'")
    conditions = {
        "observations": {"value_finite": f"value > {low} AND value < {high}"},
        "forecasts": {"level_finite": f"level > {low} AND level < {high}"},
        "attention": {"steps": "step_from >= 1 AND step_to >= step_from"},
    }.get(table, {})
    if table == "forecasts" and bound:
        listed = {"origin": "origin IN ('live', 'backfill')", "status": f"status IN {STATUSES}"}
        conditions = {"step": "step >= 1", **listed, **conditions}
    for name, condition in conditions.items():
        yield sa.CheckConstraint(condition, name=f"ck_{table}_{name}")


def _drop_views() -> None:
    for name in reversed(_views(indexed=True)):
        op.execute(f"DROP VIEW {name}")


def _create_views(*, indexed: bool) -> None:
    for name, body in _views(indexed=indexed).items():
        op.execute(_escaped(f"CREATE VIEW {name} AS {body}"))


def _escaped(statement: str) -> str:
    return statement.replace(":", r"\:")  # alembic takes a colon for a parameter


def _views(*, indexed: bool) -> dict[str, str]:
    sqlite = _is_sqlite()
    return {
        "all_forecasts": _all_forecasts(sqlite),
        "latest_forecasts": _latest_forecasts(sqlite, indexed),
        "forecast_attention": _forecast_attention(sqlite),
        "forecast_parts": _forecast_parts(sqlite),
        "forecast_vs_actual": _forecast_vs_actual(sqlite),
        "current_observations": _current_observations(sqlite),
    }


def _instant(column: str, sqlite: bool) -> str:
    name = column.rpartition(".")[2]
    return f"{_text(column)} AS {name}" if sqlite else f"{column} AS {name}"


def _text(column: str) -> str:
    """Return SQL for an instant as 2026-11-20T09:00:00+00:00, with six digits if not whole.

    SQLite's division and remainder go towards zero; before 1970 they have to go down.
    """
    rest = f"(({column} % 1000000 + 1000000) % 1000000)"
    seconds = f"(({column} - {rest}) / 1000000)"
    fraction = f"CASE {rest} WHEN 0 THEN '' ELSE printf('.%06d', {rest}) END"
    return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}, 'unixepoch') || {fraction} || '+00:00'"


def _quantiles(*levels: str) -> str:
    return ", ".join(f"f.level + f.d{level} AS q{level}" for level in levels)


def _all_forecasts(sqlite: bool) -> str:
    return f"{_said(sqlite)} FROM forecasts f {OWNER.format('f')}"


def _said(sqlite: bool) -> str:
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.timestamp", sqlite)}, f.step,
  {_instant("f.cutoff", sqlite)}, {_instant("f.issued_at", sqlite)}, f.model_id, f.origin,
  f.status, {_quantiles(*LEVELS)}"""


def _latest_forecasts(sqlite: bool, indexed: bool) -> str:
    if not sqlite and not indexed:
        return f"{_said(sqlite)} {LATEST_OF_EACH_SERIES}"
    index = f"INDEXED BY {FORECASTS_INDEX}" if sqlite and indexed else ""
    return f"""{_all_forecasts(sqlite)}
WHERE f.status <> 'hindsight' {"" if indexed else NOT_FOLLOWED} AND NOT EXISTS (
    SELECT 1 FROM forecasts later {index}
    WHERE later.series_id = f.series_id AND later.timestamp = f.timestamp
      AND later.status <> 'hindsight' AND later.cutoff >= f.cutoff
      {"" if indexed else "AND later.cutoff < f.timestamp"}
      AND (later.cutoff, later.issued_at, later.model_id) > (f.cutoff, f.issued_at, f.model_id))"""


def _forecast_attention(sqlite: bool) -> str:
    count = "json_array_length(a.weights)" if sqlite else "cardinality(a.weights)"
    position = "w.key + 1" if sqlite else "w.position"
    weight = "w.value" if sqlite else "w.weight::float8"
    weights = (
        "JOIN json_each(a.weights) w"
        if sqlite
        else "CROSS JOIN LATERAL unnest(a.weights) WITH ORDINALITY AS w(weight, position)"
    )
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("a.cutoff", sqlite)}, a.model_id,
  a.step_from, a.step_to,
  CASE {count} - ({position}) WHEN 0 THEN 'level' WHEN 1 THEN 'last' ELSE 'past' END AS source,
  {_instant("p.context_from", sqlite)}, {_instant("p.context_to", sqlite)}, {weight} AS weight
FROM attention a {OWNER.format("a")} {weights}
LEFT JOIN attention_patches p ON p.dataset_id = d.id AND p.cutoff = a.cutoff
  AND p.model_id = a.model_id AND p.patch = {position} AND {position} <= {count} - 2"""


def _forecast_parts(sqlite: bool) -> str:
    double = "" if sqlite else "::float8"
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.cutoff", sqlite)}, f.model_id, f.step,
  f.level, {", ".join(f"f.{part}{double} AS {part}" for part in PARTS)}
FROM forecasts f {OWNER.format("f")}
WHERE f.status IN ('ok', 'cold_start')"""


def _forecast_vs_actual(sqlite: bool) -> str:
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.timestamp", sqlite)}, f.step,
  {_instant("f.cutoff", sqlite)}, f.model_id, {_quantiles("10", "50", "90")}, o.value AS actual
FROM forecasts f {OWNER.format("f")}
JOIN observations o ON o.series_id = f.series_id AND o.timestamp = f.timestamp
WHERE f.status <> 'hindsight' AND o.value IS NOT NULL AND {LATEST_VERSION}"""


def _current_observations(sqlite: bool) -> str:
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("o.timestamp", sqlite)}, o.value,
  {_instant("o.recorded_at", sqlite)}
FROM observations o {OWNER.format("o")}
WHERE {LATEST_VERSION}"""
