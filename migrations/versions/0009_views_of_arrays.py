"""The views, on forecasts with one row per series, cutoff and model.

They are as before, on one more that has a row for each step as the table had. Imports nothing of
ours: a migration is frozen history.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LEVELS = ("025", "05", "10", "20", "30", "40", "50", "60", "70", "80", "90", "95", "975")
PARTS = ("copied", "last_value", "residual", "adjustment")
ARRAYS = {"parts": PARTS, "deviations": tuple(f"d{level}" for level in LEVELS)}

OWNER = "JOIN series s ON s.id = f.series_id JOIN datasets d ON d.id = s.dataset_id"
LATEST_VERSION = """NOT EXISTS (
    SELECT 1 FROM observations newer
    WHERE newer.series_id = o.series_id AND newer.timestamp = o.timestamp
      AND newer.recorded_at > o.recorded_at)"""

WIDTH = "(f.timestamp - f.cutoff) / f.step"
MONTHS = "CASE WHEN {step} LIKE '%y' THEN 12 WHEN {step} LIKE '%mo' THEN 1 ELSE 0 END"
DAYS = "CASE WHEN {step} LIKE '%w' THEN 7 WHEN {step} LIKE '%d' THEN 1 ELSE 0 END"

# Long arrays are out of line: they are fetched once for a forecast, not once for each number.
DETOASTED = "CROSS JOIN LATERAL (SELECT {} OFFSET 0) AS a".format(
    ", ".join(f"f.{array} || CAST('{{}}' AS real[]) AS {array}" for array in ARRAYS)
)


def upgrade() -> None:
    for name, body in _views().items():
        op.execute(f"CREATE VIEW {name} AS {body}".replace(":", r"\:"))


def downgrade() -> None:
    for name in reversed(_views()):
        op.execute(f"DROP VIEW {name}")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _views() -> dict[str, str]:
    return {
        "forecast_steps": _forecast_steps(),
        "all_forecasts": f"{_columns()} FROM forecast_steps f {OWNER}",
        "latest_forecasts": _latest_forecasts(),
        "forecast_parts": _forecast_parts(),
        "forecast_vs_actual": _forecast_vs_actual(),
    }


def _forecast_steps() -> str:
    """Return the SELECT of a row for each step, with the numbers as columns."""
    numbers = ", ".join(
        f"{_element(array, place)} AS {name}"
        for array, names in ARRAYS.items()
        for place, name in enumerate(names)
    )
    return f"""SELECT f.series_id, f.cutoff, f.model_id, t.step, t.timestamp, f.issued_at, f.origin,
        f.status, f.hindsight, f.level, {numbers}
        FROM forecasts f {"" if _is_sqlite() else DETOASTED} JOIN forecast_timestamps t
        ON t.model_id = f.model_id AND t.cutoff = f.cutoff AND t.step <= f.steps"""


def _element(array: str, place: int) -> str:
    if _is_sqlite():
        return f"json_extract(f.{array}, '$[' || (t.step - 1) || '][{place}]')"
    return f"a.{array}[t.step][{place + 1}]"


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
    SELECT DISTINCT ON (said.timestamp) said.timestamp, said.cutoff, said.model_id
    FROM forecast_steps said WHERE said.series_id = s.id AND NOT said.hindsight
    ORDER BY said.timestamp, said.cutoff DESC, said.issued_at DESC, said.model_id DESC) newest
CROSS JOIN LATERAL (SELECT * FROM forecast_steps said
    WHERE said.series_id = s.id AND said.cutoff = newest.cutoff
      AND said.model_id = newest.model_id AND said.timestamp = newest.timestamp OFFSET 0) f"""


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
