"""Pulls by an ingest column from SQLite, where one writes at a time."""

import pytest
from sqlalchemy import text

from forecaster.store.connection.engine import open_engine, reading, writing
from jobs.stages import pull_progress
from tests.jobs.small import hour
from tests.jobs.test_ingested import Source


@pytest.mark.parametrize("kind", ["INTEGER PRIMARY KEY", "TEXT DEFAULT (datetime('now'))"])
def test_a_sqlite_source_is_read_by_what_was_written(
    sqlite_url: str, migrate: object, kind: str
) -> None:
    assert callable(migrate)
    migrate(sqlite_url)
    engine = open_engine(sqlite_url)
    with writing(engine) as conn:
        conn.execute(text(f"CREATE TABLE written (key TEXT, at TEXT, value REAL, grows {kind})"))
    source = Source(engine, sqlite_url, "grows")

    def insert(*values: int) -> None:
        with writing(engine) as conn:
            for value in values:
                conn.execute(
                    text("INSERT INTO written (key, at, value) VALUES ('a', :at, :value)"),
                    {"at": hour(value).isoformat(), "value": value},
                )

    assert source.pull().whole == "first pull"
    insert(1, 999)
    source.pull()
    insert(2)
    second = source.pull()
    with writing(engine) as conn:
        conn.execute(text("DELETE FROM written WHERE value <> 1"))
        conn.execute(text("UPDATE written SET grows = 0"))
    third = source.pull()

    assert (second.whole, second.new, second.late) == (None, 1, 1)
    assert third.whole == "positions went back"
    assert source.landed == [1, 2]
    engine.dispose()


def test_rows_without_a_position_are_read_by_time_alone(sqlite_url: str, migrate: object) -> None:
    assert callable(migrate)
    migrate(sqlite_url)
    engine = open_engine(sqlite_url)
    source = Source(engine, sqlite_url, "grows")

    def insert(position: int | None, *values: int) -> None:
        with writing(engine) as conn:
            for value in values:
                conn.execute(
                    text("INSERT INTO written VALUES ('a', :at, :value, :position)"),
                    {"at": hour(value).isoformat(), "value": value, "position": position},
                )

    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE written (key TEXT, at TEXT, value REAL, grows INTEGER)"))
    insert(None, 1, 2, 3, 999)
    assert source.pull().whole == "first pull"
    with reading(engine) as conn:
        done = pull_progress.last_full_read(conn, source.dataset.name)
    assert source.pull().whole == "no row to start from"
    with reading(engine) as conn:
        assert pull_progress.last_full_read(conn, source.dataset.name) == done

    insert(7, 4)
    source.pull()
    insert(8, 5)
    insert(None, 6, 1003)
    news = source.pull()

    assert (news.whole, news.rows) == (None, 4)  # those of 7 and 8, and 999 and 1003 by time
    assert source.landed == [1, 2, 3, 4, 5]
    engine.dispose()
