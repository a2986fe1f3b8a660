"""A look at a column that grows, and a writer that does something before each of its statements."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event

from forecaster.source import query, session
from forecaster.source.cursor import Cursor, plan_read
from forecaster.source.query import RowRange, SourceQuery
from forecaster.source.read import read_rows
from tests.source.sources import (
    HOUR,
    SINCE,
    UNTIL,
    dataset,
)

QUERY = "SELECT key AS series_id, ts AS timestamp, value, id FROM measured"
BY_ID = dataset(QUERY, ingest_column="id")
STATEMENTS = 8


@pytest.fixture
def source(postgres_url: str) -> str:
    with psycopg.connect(postgres_url) as conn:
        conn.execute(
            "CREATE TABLE measured (key text, ts timestamptz, value float8,"
            " id bigint GENERATED ALWAYS AS IDENTITY)"
        )
    write(postgres_url, 0, 1)
    return postgres_url


@pytest.fixture
def slow(source: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(source) as conn:
        yield conn


def write(url: str, *values: int) -> None:
    with psycopg.connect(url) as conn:
        insert(conn, *values)


def insert(conn: psycopg.Connection, *values: int) -> None:
    for value in values:
        conn.execute("INSERT INTO measured (key, ts, value) VALUES ('a', %s, %s)", (UNTIL, value))


class Interruption:
    """Runs an action before the n-th statement of a session."""

    def __init__(self, number: int, action: Any) -> None:
        self.left, self.action = number, action

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


def pull(url: str, kept: Cursor | None, interruption: Interruption) -> tuple[set[int], Any]:
    """What is read, and what is kept, when a look is interrupted."""
    wanted = RowRange(since=SINCE - HOUR, until=UNTIL)
    asked = replace(SourceQuery.of(BY_ID, url, wanted), look="quick")
    with session.session(asked) as conn:
        listen(conn, interruption)
        plan = plan_read(kept, query.read_state(conn, asked))
    rows = read_rows(BY_ID, url, replace(wanted, after=plan.after))
    return set(rows["value"].cast(int)), plan.cursor


def listen(conn: Connection, interruption: Interruption) -> None:
    conn.execution_options(isolation_level="AUTOCOMMIT")
    event.listen(conn, "before_cursor_execute", interruption)


@pytest.mark.fault(15)
@pytest.mark.parametrize("number", range(1, STATEMENTS + 2))
def test_who_takes_a_number_during_a_look_is_not_lost(
    source: str, slow: psycopg.Connection, number: int
) -> None:
    seen, kept = pull(source, None, Interruption(0, None))
    slow.execute("SELECT 1")

    def overtake() -> None:
        insert(slow, 2)
        write(source, 3)

    interruption = Interruption(number, overtake)
    found, kept = pull(source, kept, interruption)
    slow.commit()
    seen |= found
    for _ in range(2):
        found, kept = pull(source, kept, Interruption(0, None))
        seen |= found

    assert seen == ({0, 1, 2, 3} if interruption.left <= 0 else {0, 1})
