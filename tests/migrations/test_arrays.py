"""Forecasts with a row for each step become arrays, however often the upgrade is interrupted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from alembic.script import Script
from sqlalchemy import Connection, Engine

from forecaster.errors import StoreError
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.forecasts import forecasts
from forecaster.store.maintenance import migrations
from tests.jobs.small import query
from tests.tolerance import within

BEFORE = "0006"
START = datetime(2026, 11, 20, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
AT_ONCE = 50
SERIES, CUTOFFS, STEPS = 2 * AT_ONCE + 7, 2, 4
NUMBERS = (
    "copied, last_value, residual, adjustment, "
    "d025, d05, d10, d20, d30, d40, d50, d60, d70, d80, d90, d95, d975"
)
SHOWN = (
    "SELECT series_id, cutoff, step, timestamp, status, q025, q50, q975 FROM {} ORDER BY 1, 2, 3"
)
LEFT = "SELECT count(DISTINCT series_id) FROM forecast_arrays"


@pytest.fixture
def old(database_url: str) -> Iterator[Engine]:
    """A database of the revision before, with forecasts of some series."""
    engine = open_engine(database_url)
    with writing(engine) as conn:
        command.upgrade(migrations.alembic_config(conn), BEFORE)
        populate(conn)
    yield engine
    engine.dispose()


def populate(conn: Connection) -> None:
    at = instant(conn, START)
    insert(conn, "INSERT INTO datasets (id, name) VALUES (1, 'bikes')")
    insert(
        conn,
        "INSERT INTO models (id, dataset_id, created_at, config, sha256, size, scores,"
        f" trained_from, trained_to) VALUES (1, 1, {at}, '{{}}', 'x', 1, '{{}}', {at}, {at})",
    )
    if conn.dialect.name == "postgresql":
        insert(
            conn,
            "CREATE TABLE forecasts_20261026 PARTITION OF forecasts"
            " FOR VALUES FROM ('2026-10-26') TO ('2026-11-23')",
        )
    for series in range(1, SERIES + 1):
        insert(conn, f"INSERT INTO series VALUES ({series}, 1, 'series {series}')")
        for number in range(CUTOFFS):
            for step in range(1, STEPS + 1):
                add(conn, series, START + number * HOUR, step)


def add(conn: Connection, series: int, cutoff: datetime, step: int) -> None:
    values = ", ".join(str(step + place / 7 + 1e-7 * series) for place in range(17))
    times = (cutoff, cutoff + step * HOUR, cutoff)
    insert(
        conn,
        "INSERT INTO forecasts (series_id, model_id, step, cutoff, timestamp, issued_at, origin,"
        f" status, level, {NUMBERS}) VALUES ({series}, 1, {step},"
        f" {', '.join(instant(conn, each) for each in times)}, 'live', 'ok', {1e9 + series},"
        f" {values})",
    )


def insert(conn: Connection, statement: str) -> None:
    conn.exec_driver_sql(statement)


def instant(conn: Connection, at: datetime) -> str:
    if conn.dialect.name == "sqlite":
        return str(int(at.timestamp()) * 1_000_000)
    return f"'{at.isoformat()}'"


def shown(engine: Engine, view: str = "all_forecasts") -> list[tuple[Any, ...]]:
    return query(engine, SHOWN.format(view))


def alike(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> bool:
    """Whether keys are the same, and numbers within some float32 of a deviation."""
    return [row[:5] for row in found] == [row[:5] for row in expected] and all(
        abs(number - other) <= within(STEPS + 3)
        for row, others in zip(found, expected, strict=True)
        for number, other in zip(row[5:], others[5:], strict=True)
    )


def test_an_upgrade_that_is_interrupted_goes_on_where_it_was(
    old: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, prepare, calls = shown(old), migrations._prepare, [0]

    def interrupted(conn: Connection, script: Script) -> bool:
        done = prepare(conn, script)
        calls[0] += done
        if calls[0] == 2:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(migrations, "_prepare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        migrations.upgrade(old)
    amid, done = shown(old), query(old, LEFT)
    monkeypatch.setattr(migrations, "_prepare", prepare)
    migrations.upgrade(old)

    assert amid == before
    assert done == [(AT_ONCE,)]
    assert migrations.revision(old) == migrations.head()
    assert alike(shown(old), before)
    assert alike(shown(old, "latest_forecasts"), [row for row in before if is_latest(row)])


def is_latest(row: tuple[Any, ...]) -> bool:
    cutoff, step = datetime.fromisoformat(str(row[1])), row[2]
    return step == 1 or cutoff == START + (CUTOFFS - 1) * HOUR


def test_forecasts_are_refused_while_they_are_rewritten(old: Engine) -> None:
    with writing(old) as conn:
        command.upgrade(migrations.alembic_config(conn), "0007")

    with pytest.raises(StoreError, match="run forecaster db upgrade"), old.begin() as conn:
        add(conn, SERIES, START + 10 * HOUR, 1)

    migrations.upgrade(old)
    with reading(old) as conn:
        assert forecasts.count(conn, "bikes", at_most=1000) == SERIES * CUTOFFS


def test_a_step_without_a_row_has_no_numbers(old: Engine) -> None:
    with writing(old) as conn:
        at = instant(conn, START)
        insert(conn, f"DELETE FROM forecasts WHERE series_id = 2 AND step = 2 AND cutoff = {at}")
        insert(conn, f"DELETE FROM forecasts WHERE series_id = 3 AND step = 4 AND cutoff = {at}")

    migrations.upgrade(old)

    first = (
        "SELECT step, coalesce(q50, 'NaN') FROM all_forecasts WHERE series_id = 'series {}'"
        " ORDER BY cutoff, step LIMIT 4"
    )
    found = query(old, first.format(2))
    assert [step for step, _ in found] == [1, 2, 3, 4]
    assert [str(q50).lower() == "nan" for _, q50 in found] == [False, True, False, False]
    assert [step for step, _ in query(old, first.format(3))] == [1, 2, 3, 1]


def test_a_step_that_is_closed_for_all_series_has_no_row(old: Engine) -> None:
    with writing(old) as conn:
        insert(conn, "DELETE FROM forecasts WHERE step = 2")
    before = shown(old)

    migrations.upgrade(old)

    assert alike(shown(old), before)


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_a_view_of_somebody_else_stops_the_upgrade_before_anything_is_lost(old: Engine) -> None:
    before = shown(old)
    with writing(old) as conn:
        insert(conn, "CREATE VIEW report AS SELECT * FROM forecasts")

    with pytest.raises(StoreError, match="view report depends on table forecasts"):
        migrations.upgrade(old)
    amid = shown(old)
    with writing(old) as conn:
        insert(conn, "DROP VIEW report")
    migrations.upgrade(old)

    assert amid == before
    assert alike(shown(old), before)
