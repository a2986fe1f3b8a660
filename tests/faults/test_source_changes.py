"""A source whose columns change fails its own dataset, says what is wrong, and is caught up."""

from dataclasses import replace

import polars as pl
import pytest
from sqlalchemy import Engine, text

from forecaster.store.connection.engine import writing
from tests.jobs.small import DATASET, HORIZON, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.fault(16)

PULLED = replace(DATASET, query="SELECT * FROM source", timezone="UTC")
QUIET = replace(DATASET, name="quiet")
COLUMNS = "series_id TEXT, timestamp TEXT, value FLOAT"


@pytest.fixture
def world(engine: Engine) -> World:
    """A dataset with a source that has ten hours to come, and a model."""
    frame = pl.concat([rows("a", 0, LAST + 10), rows("b/c", 0, LAST + 10)])
    with writing(engine) as conn:
        conn.execute(text(f"CREATE TABLE source ({COLUMNS})"))
        conn.execute(
            text("INSERT INTO source VALUES (:series_id, :timestamp, :value)"),
            frame.with_columns(pl.col("timestamp").dt.to_string("%Y-%m-%d %H:%M:%S")).to_dicts(),
        )
    world = World(engine=engine, dataset=PULLED)
    world.tick("retrain", hour(LAST))
    return world


def alter(world: World, *statements: str) -> None:
    with writing(world.engine) as conn:
        for statement in statements:
            conn.execute(text(statement))


@pytest.mark.parametrize(
    ("breaks", "mends", "told"),
    [
        (
            "ALTER TABLE source RENAME COLUMN value TO reading",
            "ALTER TABLE source RENAME COLUMN reading TO value",
            "value",
        ),
        pytest.param(
            "ALTER TABLE source RENAME COLUMN series_id TO station",
            "ALTER TABLE source RENAME COLUMN station TO series_id",
            "series_id",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ALTER TABLE source DROP COLUMN value",
            "ALTER TABLE source ADD value FLOAT",
            "value",
            marks=pytest.mark.slow,
        ),
        ("ALTER TABLE source RENAME TO moved", "ALTER TABLE moved RENAME TO source", "source"),
    ],
)
def test_what_is_missing_is_named_and_what_is_mended_is_caught_up(
    world: World, breaks: str, mends: str, told: str
) -> None:
    assert world.tick("forecast", hour(LAST + 1)).result == "succeeded"
    alter(world, breaks)

    failed = world.tick("forecast", hour(LAST + 2))
    alter(world, mends)
    mended = [world.tick("forecast", hour(LAST + number)).result for number in (2, 3)]

    assert failed.result == "failed"
    assert told in str(failed.error)
    assert mended == ["succeeded", "succeeded"]
    assert query(world.engine, "SELECT count(*) FROM forecast_steps") == [(3 * 2 * HORIZON,)]


def test_a_source_that_fails_holds_up_no_other_dataset(world: World) -> None:
    land(world.engine, rows("a", 0, LAST), dataset="quiet")
    other = World(engine=world.engine, dataset=QUIET)
    other.tick("retrain", hour(LAST))
    alter(world, "ALTER TABLE source RENAME COLUMN value TO reading")

    results = [each.tick("forecast", hour(LAST + 1)).result for each in (world, other)]

    assert results == ["failed", "succeeded"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ("ALTER TABLE source ADD COLUMN note TEXT DEFAULT 'new'",),
        (
            "ALTER TABLE source RENAME TO kept",
            "CREATE VIEW source AS SELECT series_id, timestamp, value FROM kept",
        ),
        (
            "ALTER TABLE source RENAME TO kept",
            "CREATE TABLE source AS SELECT series_id, timestamp, CAST(value AS TEXT) AS value "
            "FROM kept",
        ),
        (
            "ALTER TABLE source RENAME TO kept",
            "CREATE TABLE source AS SELECT value, timestamp, series_id FROM kept",
        ),
    ],
    ids=["another column", "a view", "numbers as text", "another order"],
)
def test_what_still_says_the_same_is_read_on(world: World, changes: tuple[str, ...]) -> None:
    world.tick("forecast", hour(LAST + 1))
    alter(world, *changes)

    outcome = world.tick("forecast", hour(LAST + 2))

    assert outcome.result == "succeeded", outcome.error
    newest = "SELECT count(*) FROM observations WHERE timestamp = " + (
        f"'{hour(LAST + 2)}'"
        if world.engine.dialect.name == "postgresql"
        else str(int(hour(LAST + 2).timestamp() * 1e6))
    )
    assert query(world.engine, newest) == [(2,)]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_column_of_a_type_that_is_no_number_is_named(world: World) -> None:
    alter(world, "ALTER TABLE source ALTER COLUMN value TYPE date USING '2026-01-01'")

    outcome = world.tick("forecast", hour(LAST + 1))

    assert outcome.result == "failed"
    assert "value" in str(outcome.error)
    assert "date" in str(outcome.error).lower()
