"""The views people read, the same on SQLite and PostgreSQL.

A later migration that rebuilds a table drops the views that stand on it first and makes them
again afterwards, from its own text. Imports nothing of ours: a migration is frozen history.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LEVELS = ("025", "05", "10", "20", "30", "40", "50", "60", "70", "80", "90", "95", "975")

OWNER = "JOIN series s ON s.id = {0}.series_id JOIN datasets d ON d.id = s.dataset_id"
LATEST_VERSION = """NOT EXISTS (
    SELECT 1 FROM observations newer
    WHERE newer.series_id = o.series_id AND newer.timestamp = o.timestamp
      AND newer.recorded_at > o.recorded_at)"""


def upgrade() -> None:
    for name, body in _views(sqlite=op.get_bind().dialect.name == "sqlite").items():
        op.execute(_escaped(f"CREATE VIEW {name} AS {body}"))


def downgrade() -> None:
    for name in reversed(_views(sqlite=True)):
        op.execute(f"DROP VIEW {name}")


def _escaped(statement: str) -> str:
    return statement.replace(":", r"\:")  # alembic takes a colon for a parameter


def _views(*, sqlite: bool) -> dict[str, str]:
    return {
        "all_forecasts": _all_forecasts(sqlite),
        "latest_forecasts": _latest_forecasts(sqlite),
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
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.timestamp", sqlite)}, f.step,
  {_instant("f.cutoff", sqlite)}, {_instant("f.issued_at", sqlite)}, f.model_id, f.origin,
  f.status, {_quantiles(*LEVELS)}
FROM forecasts f {OWNER.format("f")}"""


def _latest_forecasts(sqlite: bool) -> str:
    # Without statistics SQLite would walk through all later cutoffs of a series for every row.
    index = "INDEXED BY ix_forecasts_series_id_timestamp_cutoff" if sqlite else ""
    return f"""{_all_forecasts(sqlite)}
WHERE f.status <> 'hindsight' AND NOT EXISTS (
    SELECT 1 FROM forecasts later {index}
    WHERE later.series_id = f.series_id AND later.timestamp = f.timestamp
      AND later.status <> 'hindsight' AND later.cutoff >= f.cutoff
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
    parts = ("copied", "last_value", "residual", "adjustment")
    double = "" if sqlite else "::float8"
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.cutoff", sqlite)}, f.model_id, f.step,
  f.level, {", ".join(f"f.{part}{double} AS {part}" for part in parts)}
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
