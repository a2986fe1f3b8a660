"""A database with rows in it goes to the newest schema and back without losing any."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, inspect, text

from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.maintenance import migrations
from tests.jobs.small import query
from tests.tolerance import within

MADE = datetime(2026, 11, 20, 9, tzinfo=UTC)
DAYS = (0, 1, 27, 28, 400)
BEFORE_PARTITIONS = "0002"
BEFORE_HINDSIGHT = "0005"
TABLES = ("datasets", "series", "observations", "models", "forecasts", "attention", "accuracy",
          "attention_patches", "runs", "watermarks")  # fmt: skip
VIEWS = ("all_forecasts", "latest_forecasts", "forecast_attention", "forecast_parts",
         "forecast_vs_actual", "current_observations")  # fmt: skip
NEW_COLUMNS = {
    "datasets": {"landed_at", "newest_observation", "config"},
    "models": {"damaged_at"},
    "runs": {"token", "progress"},
    "watermarks": {"state"},
    "forecasts": {"hindsight"},
    "all_forecasts": {"hindsight"},
    "latest_forecasts": {"hindsight"},
}


@pytest.fixture
def old(database_url: str) -> Iterator[Engine]:
    """A database at the revision before partitions, with rows in every table."""
    engine = open_engine(database_url)
    with writing(engine) as conn:
        command.upgrade(migrations.alembic_config(conn), BEFORE_PARTITIONS)
        populate(conn)
    yield engine
    engine.dispose()


def populate(conn: Connection) -> None:
    at = _instant(conn, MADE)
    _insert(conn, "datasets", "1, 'bikes'", "2, 'empty'")
    _insert(conn, "series", "1, 1, 'a'", "2, 1, 'b'")
    _insert(conn, "models", f"1, 1, {at}, '{{}}', NULL, 'x', 1, '{{}}', NULL, {at}, {at}, {at},"
            " NULL, 'first'")  # fmt: skip
    for day in DAYS:
        cutoff, target = (
            _instant(conn, MADE + timedelta(days=day, hours=hours)) for hours in (0, 1)
        )
        weights = "'[0.5, 0.5]'" if conn.dialect.name == "sqlite" else "'{0.5, 0.5}'"
        numbers = ", ".join(["0.5"] * 17)
        for series in (1, 2):
            _insert(conn, "observations", f"{series}, {target}, {target}, {day}")
            _insert(conn, "forecasts", f"{series}, {cutoff}, 1, 1, {target}, {target}, 'live',"
                    f" 'ok', {day}, {numbers}")  # fmt: skip
            _insert(conn, "attention", f"{series}, {cutoff}, 1, 1, 2, {weights}")
            _insert(conn, "accuracy", f"{series}, {cutoff}, 1, '1', {target}, 1, 1, 1, 1, 1, 1, 1,"
                    " 1, 1, 1, 1")  # fmt: skip
        _insert(conn, "attention_patches", f"1, {cutoff}, 1, 1, {cutoff}, {cutoff}")
    _insert(conn, "runs", f"1, 'forecast', 1, {at}, 'succeeded', 1, {at}, {at}, NULL, NULL, NULL")
    _insert(conn, "watermarks", f"1, 'score', {at}, {at}")


def _insert(conn: Connection, table: str, *rows: str) -> None:
    for row in rows:
        conn.exec_driver_sql(f"INSERT INTO {table} VALUES ({row})")


def _instant(conn: Connection, instant: datetime) -> str:
    if conn.dialect.name == "sqlite":
        return str(int(instant.timestamp()) * 1_000_000)
    return f"'{instant.isoformat()}'"


def contents(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table and view, by the columns that the older schema has.

    That of forecasts had a row for each step. Numbers are within a few float32 of what they were:
    SQLite keeps the shortest text of each.
    """
    with reading(engine) as conn:
        has_arrays = "forecast_steps" in inspect(conn).get_view_names()
        renamed = {"forecasts": "forecast_steps"} if has_arrays else {}
        found = {
            name: conn.execute(text(f"SELECT * FROM {renamed.get(name, name)}")).mappings().all()
            for name in TABLES + VIEWS
        }
    return {
        name: sorted(
            (
                {
                    k: Number(v) if isinstance(v, float) else v
                    for k, v in row.items()
                    if k not in NEW_COLUMNS.get(name, ())
                }
                for row in rows
            ),
            key=lambda row: str([row[k] for k in sorted(row) if not isinstance(row[k], Number)]),
        )
        for name, rows in found.items()
    }


class Number(float):
    """A number that equals those within some float32."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and abs(self - other) <= within(max(1.0, abs(self)))

    __hash__ = float.__hash__


def test_every_row_and_view_survives_the_way_up_and_down(old: Engine) -> None:
    before = contents(old)

    migrations.upgrade(old)
    above = contents(old)
    with writing(old) as conn:
        command.downgrade(migrations.alembic_config(conn), BEFORE_PARTITIONS)
    below = contents(old)

    assert [name for name, rows in before.items() if not rows] == []
    assert above == before
    assert below == before


def test_a_dataset_has_landed_when_its_newest_observation_was_recorded(old: Engine) -> None:
    migrations.upgrade(old)

    with reading(old) as conn:
        found = conn.execute(
            text("SELECT d.name, d.landed_at = (SELECT max(recorded_at) FROM observations) AS same"
                 " FROM datasets d ORDER BY name")
        ).all()  # fmt: skip

    assert [(name, same if same is None else bool(same)) for name, same in found] == [
        ("bikes", True),
        ("empty", None),
    ]


def test_what_was_said_in_hindsight_gets_a_status_by_its_attention(old: Engine) -> None:
    said = "SELECT DISTINCT series_id, status{} FROM all_forecasts ORDER BY series_id"
    with writing(old) as conn:
        command.upgrade(migrations.alembic_config(conn), BEFORE_HINDSIGHT)
        conn.execute(text("UPDATE forecasts SET status = 'hindsight'"))
        conn.execute(text("DELETE FROM attention WHERE series_id = 2"))

    migrations.upgrade(old)
    above = query(old, said.format(", hindsight"))
    latest = query(old, "SELECT * FROM latest_forecasts")
    with writing(old) as conn:
        command.downgrade(migrations.alembic_config(conn), BEFORE_HINDSIGHT)

    assert above == [("a", "ok", True), ("b", "fallback_naive", True)]
    assert latest == []
    assert query(old, said.format("")) == [("a", "hindsight"), ("b", "hindsight")]


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_old_rows_lie_in_partitions_of_four_weeks(old: Engine) -> None:
    migrations.upgrade(old)

    with reading(old) as conn:
        found = conn.scalars(
            text("SELECT DISTINCT tableoid::regclass::text FROM forecasts ORDER BY 1")
        ).all()
    assert found == ["forecasts_20261026", "forecasts_20261123", "forecasts_20271220"]
