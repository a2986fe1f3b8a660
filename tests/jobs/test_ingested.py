"""Pulls by an ingest column: two sessions write at once, and no row is ever lost."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.source import high_water_mark
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.observations import observations
from forecaster.store.state import watermarks
from jobs.execution.reports import PullReport
from jobs.stages import pull, pull_progress
from tests.jobs.small import DATASET, hour

pytestmark = pytest.mark.quick_on("postgres")

NOW = hour(1000)
COLUMNS = {
    "serial": "bigint GENERATED ALWAYS AS IDENTITY",
    "stamp": "timestamptz DEFAULT now()",
    "transaction": "xid8 DEFAULT pg_current_xact_id()",
}


def by(column: str) -> DatasetConfig:
    query = f'SELECT key AS series_id, at AS timestamp, value, "{column}" AS grows FROM written'
    return replace(
        DATASET, query=query, ingest_column="grows", history=timedelta(hours=2000), timezone="UTC"
    )


class Source:
    """A table that several sessions write, and a program that pulls from it."""

    def __init__(self, engine: Engine, url: str, column: str) -> None:
        self.engine, self.url, self.dataset = engine, url, by(column)
        self.column = column
        self.pulls = 0

    def insert(self, conn: psycopg.Connection, *values: int) -> None:
        """Write old rows, of an hour that is their value, so that no overlap of time finds them."""
        for value in values:
            conn.execute(
                "INSERT INTO written (key, at, value) VALUES ('a', %s, %s)", (hour(value), value)
            )

    def pull(self, *, is_kept: bool = True) -> PullReport:
        self.pulls += 1
        report = pull.run(self.engine, self.dataset, now=NOW + timedelta(hours=self.pulls))
        assert report is not None
        with writing(self.engine) as conn:
            if is_kept:
                pull_progress.advance(conn, self.dataset.name, report)
        return report

    @property
    def landed(self) -> list[float]:
        with reading(self.engine) as conn:
            found = observations.read(conn, self.dataset.name)
        return found.filter(pl.col("value") < 900)["value"].to_list()


@pytest.fixture(params=list(COLUMNS))
def source(
    request: pytest.FixtureRequest,
    postgres_url: str,
    migrate: object,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Source]:
    monkeypatch.setattr(high_water_mark, "_POLL_SECONDS", 0.0)
    assert callable(migrate)
    migrate(postgres_url)
    with psycopg.connect(postgres_url) as conn:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        conn.execute(f"CREATE TABLE written (key text, at timestamptz, value float8, {columns})")
        conn.execute("INSERT INTO written (key, at, value) VALUES ('a', %s, 999)", (hour(999),))
    engine = open_engine(postgres_url)
    yield Source(engine, postgres_url, request.param)
    engine.dispose()


@pytest.fixture
def sessions(source: Source) -> Iterator[list[psycopg.Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(source.url)) for _ in range(2)]


@pytest.mark.fault(15)
def test_a_slow_committer_is_not_lost(source: Source, sessions: list[psycopg.Connection]) -> None:
    slow, fast = sessions
    source.pull()
    source.insert(slow, 1)
    source.insert(fast, 2)
    fast.commit()
    assert source.pull().whole is None
    assert source.landed == [2]

    slow.commit()
    source.pull()

    assert source.landed == [1, 2]


@pytest.mark.fault(15)
def test_a_committer_slower_than_several_pulls_is_not_lost(
    source: Source, sessions: list[psycopg.Connection]
) -> None:
    slow, fast = sessions
    source.pull()
    source.insert(slow, 1)
    for value in (2, 3, 4):
        source.insert(fast, value)
        fast.commit()
        source.pull(is_kept=value != 3)

    slow.commit()
    reports = [source.pull() for _ in range(3)]

    assert source.landed == [1, 2, 3, 4]
    assert {report.whole for report in reports} == {None}


@pytest.mark.fault(15)
def test_a_transaction_that_was_open_at_the_first_pull_is_not_lost(
    source: Source, sessions: list[psycopg.Connection]
) -> None:
    slow, fast = sessions
    source.insert(slow, 1)
    source.insert(fast, 2)
    fast.commit()
    source.pull()
    source.pull()

    slow.commit()
    report = source.pull()

    assert source.landed == [1, 2]
    assert report.whole == "transactions were open when it was first read"
    assert source.pull().whole is None


@pytest.mark.fault(15)
def test_a_transaction_that_begins_before_a_pull_and_writes_after_it_is_not_lost(
    source: Source, sessions: list[psycopg.Connection]
) -> None:
    slow, fast = sessions
    source.pull()
    slow.execute("SELECT 1")
    source.insert(fast, 2)
    fast.commit()
    source.pull()

    source.insert(slow, 1)
    slow.commit()
    source.pull()

    assert source.landed == [1, 2]


def test_rows_that_were_read_are_not_read_again(
    source: Source, sessions: list[psycopg.Connection]
) -> None:
    for value in range(50):
        source.insert(sessions[0], value)
        sessions[0].commit()
    first = source.pull()

    source.insert(sessions[0], 60)
    sessions[0].commit()
    second = source.pull()

    assert first.new == 51
    assert (second.new, second.late) == (1, 1)
    if source.column != "stamp":  # of which the last seconds are read again
        assert second.rows <= 3  # the new row, the last one before, the overlap of time


def test_rows_from_the_future_wait_for_their_time(
    source: Source, sessions: list[psycopg.Connection]
) -> None:
    source.pull()
    source.insert(sessions[0], 1004)
    sessions[0].commit()

    news = [source.pull().new for _ in range(4)]

    assert news == [0, 0, 1, 0]


def test_a_source_restored_to_its_past_is_read_anew(
    source: Source, sessions: list[psycopg.Connection]
) -> None:
    source.insert(sessions[0], 1, 2, 3)
    sessions[0].commit()
    source.pull()
    source.pull()
    kept = state(source)
    kept["newest_transaction"] += 1000
    keep(source, kept)

    assert source.pull().whole == "transactions went back"
    assert source.pull().whole is None


def test_another_cluster_is_read_anew(source: Source, sessions: list[psycopg.Connection]) -> None:
    source.pull()
    source.pull()
    kept = state(source)
    assert kept["cluster"].partition("/")[0].isdigit()
    keep(source, kept | {"cluster": "1/1"})

    assert source.pull().whole == "another cluster or timeline"
    assert source.pull().whole is None


def test_a_reader_without_privileges_gets_a_bound(
    source: Source, sessions: list[psycopg.Connection]
) -> None:
    with psycopg.connect(source.url, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS reader")
        conn.execute("CREATE ROLE reader LOGIN")
        conn.execute("GRANT SELECT ON written TO reader")
    source.dataset = replace(
        source.dataset, source_url=source.url.replace("forecaster@", "reader@")
    )
    slow, fast = sessions
    source.pull()
    source.insert(slow, 1)
    source.insert(fast, 2)
    fast.commit()
    source.pull()

    slow.commit()
    source.pull()
    source.pull()

    assert source.landed == [1, 2]
    with psycopg.connect(source.url, autocommit=True) as conn:
        conn.execute("DROP OWNED BY reader")
        conn.execute("DROP ROLE reader")


def test_a_column_that_gives_no_bound_is_refused(source: Source) -> None:
    source.dataset = replace(source.dataset, ingest_column="value")

    with pytest.raises(
        DataError, match="of type bigint, timestamptz or xid8, found float8"
    ) as caught:
        source.pull()

    assert "reconcile_every" in (caught.value.hint or "")


def test_a_column_that_is_not_in_the_query_is_named(source: Source) -> None:
    source.dataset = replace(source.dataset, ingest_column="grow")

    with pytest.raises(DataError, match="does not return 'grow'") as caught:
        source.pull()

    assert 'ingest_column = "grows"' in (caught.value.hint or "")


def state(source: Source) -> dict[str, Any]:
    with reading(source.engine) as conn:
        found = watermarks.state(conn, source.dataset.name, pull_progress.INGESTED)
    assert found is not None
    return found


def keep(source: Source, document: dict[str, Any]) -> None:
    with writing(source.engine) as conn:
        now = NOW + timedelta(hours=source.pulls)
        watermarks.keep(conn, source.dataset.name, pull_progress.INGESTED, document, now=now)
