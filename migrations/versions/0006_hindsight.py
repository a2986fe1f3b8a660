"""Hindsight is a column of its own, and no status in place of what the status would have been.

What was said in hindsight before gets the status `ok` where there is attention of it, else
`fallback_naive`. One statement does it in the database, so memory does not grow with the rows. The
statuses have had no check since 0003, as forecasts are written in bulk, and get none here.

Imports nothing of ours: a migration is frozen history.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")

LEVELS = ("025", "05", "10", "20", "30", "40", "50", "60", "70", "80", "90", "95", "975")
PARTS = ("copied", "last_value", "residual", "adjustment")
VIEWS = ("all_forecasts", "latest_forecasts", "forecast_parts", "forecast_vs_actual")

OWNER = "JOIN series s ON s.id = f.series_id JOIN datasets d ON d.id = s.dataset_id"
LATEST_VERSION = """NOT EXISTS (
    SELECT 1 FROM observations newer
    WHERE newer.series_id = o.series_id AND newer.timestamp = o.timestamp
      AND newer.recorded_at > o.recorded_at)"""
EXPLAINED = """EXISTS (
    SELECT 1 FROM attention a
    WHERE a.series_id = forecasts.series_id AND a.cutoff = forecasts.cutoff
      AND a.model_id = forecasts.model_id)"""

WIDTH = "(f.timestamp - f.cutoff) / f.step"
MONTHS = "CASE WHEN {step} LIKE '%y' THEN 12 WHEN {step} LIKE '%mo' THEN 1 ELSE 0 END"
DAYS = "CASE WHEN {step} LIKE '%w' THEN 7 WHEN {step} LIKE '%d' THEN 1 ELSE 0 END"


def upgrade() -> None:
    _drop_views()
    op.add_column(
        "forecasts", sa.Column("hindsight", FLAG, nullable=False, server_default=sa.false())
    )
    op.execute(f"""UPDATE forecasts SET hindsight = {_true()},
        status = CASE WHEN {EXPLAINED} THEN 'ok' ELSE 'fallback_naive' END
        WHERE status = 'hindsight'""")
    _create_views(marked=True)


def downgrade() -> None:
    _drop_views()
    op.execute("UPDATE forecasts SET status = 'hindsight' WHERE hindsight")
    op.drop_column("forecasts", "hindsight")
    _create_views(marked=False)


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _true() -> str:
    return "1" if _is_sqlite() else "true"


def _drop_views() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")


def _create_views(*, marked: bool) -> None:
    """Make the views; `marked`: that have a column for hindsight, else as they were before."""
    bodies = (_all_forecasts, _latest_forecasts, _forecast_parts, _forecast_vs_actual)
    for name, body in zip(VIEWS, bodies, strict=True):
        op.execute(f"CREATE VIEW {name} AS {body(marked)}".replace(":", r"\:"))


def _in_time(rows: str, marked: bool) -> str:
    return f"NOT {rows}.hindsight" if marked else f"{rows}.status <> 'hindsight'"


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


def _said(marked: bool) -> str:
    status = "f.status, f.hindsight" if marked else "f.status"
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.timestamp")}, f.step,
  {_instant("f.cutoff")}, {_instant("f.issued_at")}, f.model_id, f.origin,
  {status}, {_quantiles(*LEVELS)}"""


def _all_forecasts(marked: bool) -> str:
    return f"{_said(marked)} FROM forecasts f {OWNER}"


def _latest_forecasts(marked: bool) -> str:
    """Return the view; see 0003 for how either store finds the newest without reading all."""
    if not _is_sqlite():
        return f"""{_said(marked)}
FROM datasets d JOIN series s ON s.dataset_id = d.id CROSS JOIN LATERAL (
    SELECT DISTINCT ON (said.timestamp) said.* FROM forecasts said
    WHERE said.series_id = s.id AND {_in_time("said", marked)}
    ORDER BY said.timestamp, said.cutoff DESC, said.issued_at DESC, said.model_id DESC) f"""
    return f"""{_all_forecasts(marked)}
WHERE {_in_time("f", marked)} AND NOT EXISTS (
    SELECT 1 FROM forecasts later
    WHERE later.series_id = f.series_id AND later.cutoff = (
        SELECT min(next.cutoff) FROM forecasts next
        WHERE next.series_id = f.series_id AND next.cutoff > f.cutoff)
      AND later.model_id = f.model_id AND later.step = f.step - 1
      AND later.timestamp = f.timestamp AND {_in_time("later", marked)}) AND NOT EXISTS (
    SELECT 1 FROM forecasts later
    WHERE later.series_id = f.series_id AND later.timestamp = f.timestamp
      AND {_in_time("later", marked)} AND later.cutoff >= f.cutoff
      AND later.cutoff < f.timestamp
      AND (later.cutoff, later.issued_at, later.model_id) > (f.cutoff, f.issued_at, f.model_id))"""


def _forecast_parts(marked: bool) -> str:
    double = "" if _is_sqlite() else "::float8"
    also = f" AND {_in_time('f', marked)}" if marked else ""
    return f"""
SELECT d.name AS dataset, s.key AS series_id, {_instant("f.cutoff")}, f.model_id, f.step,
  f.level, {", ".join(f"f.{part}{double} AS {part}" for part in PARTS)}
FROM forecasts f {OWNER} WHERE f.status IN ('ok', 'cold_start', 'fallback_champion'){also}"""


def _forecast_vs_actual(marked: bool) -> str:
    """Return the view: one descent of the key where rows are stamped as the forecasts are."""
    columns = f"""d.name AS dataset, s.key AS series_id, {_instant("f.timestamp")}, f.step,
  {_instant("f.cutoff")}, f.model_id, {_quantiles("10", "50", "90")}"""
    mean = f"""(SELECT avg(o.value) FROM observations o
    WHERE o.series_id = f.series_id AND o.timestamp >= {_begin()} AND o.timestamp <= {_end()}
      AND o.value IS NOT NULL AND {LATEST_VERSION})"""
    actual = f"CASE WHEN o.value IS NOT NULL AND {_is_exact()} THEN o.value ELSE {mean} END"
    source = f"""FROM forecasts f {OWNER} JOIN models m ON m.id = f.model_id
LEFT JOIN observations o ON o.series_id = f.series_id AND o.timestamp = f.timestamp
  AND o.value IS NOT NULL AND {LATEST_VERSION}"""
    limits = f"{_in_time('f', marked)} AND ({_is_exact()} OR {_is_over()})"
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
    return f"""COALESCE({cutoff}, (SELECT n.timestamp FROM forecasts n
    WHERE n.series_id = f.series_id AND n.cutoff = f.cutoff AND n.model_id = f.model_id
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
