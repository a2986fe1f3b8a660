import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal
from psycopg import sql

from forecaster.errors import DataError, SourceUnavailable, StoreError, UnsupportedDatabase
from forecaster.source import session, worker_pool
from forecaster.source.query import RowRange, SourceQuery
from tests.source.sources import (
    QUERY,
    SINCE,
    UNTIL,
    dataset,
    fill,
    fill_postgres,
    read,
)

CANARY = "c4n4ry"


@pytest.mark.fault(16)
def test_a_missing_column_is_named_with_what_was_found(sqlite_source: str) -> None:
    query = "SELECT key AS station, ts AS Timestamp, value AS rentals FROM measured"

    with pytest.raises(DataError) as caught:
        read(sqlite_source, dataset(query, value_column="rental"))

    assert caught.value.message == (
        "query of dataset bikes does not return 'timestamp', 'rental', 'series_id'; "
        "it returns station, Timestamp, rentals"
    )
    assert caught.value.hint == (
        'did you mean timestamp_column = "Timestamp"?; did you mean value_column = "rentals"?; '
        "set series_columns, or name a column AS series_id"
    )


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM nowhere",
        "SELEKT 1",
        "SELECT 1; DROP TABLE measured",
        "SELECT 1) AS q; DROP TABLE measured; SELECT * FROM (SELECT 1",
        "DELETE FROM measured",
        "",
    ],
)
def test_a_query_that_cannot_run_is_an_error_of_the_dataset(
    postgres_url: str, sqlite_source: str, query: str
) -> None:
    fill_postgres(postgres_url, "timestamptz", [("a", UNTIL, 1)])
    fill(sqlite_source, [("a", UNTIL.isoformat(), 1)])

    for url in (postgres_url, sqlite_source):
        with pytest.raises(DataError, match="query of dataset bikes failed: ") as caught:
            read(url, dataset(query))
        assert caught.value.hint == "fix query in [datasets.bikes]"
        assert read(url).height == 1


def test_a_long_read_leaves_no_transaction_idle(postgres_url: str) -> None:
    fill_postgres(postgres_url, "timestamptz", [("a", UNTIL, 1)])
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = '1s'").format(
                sql.Identifier(conn.info.dbname)
            )
        )
    slow = QUERY + " CROSS JOIN (SELECT pg_sleep(3)) AS sleep"

    assert read(postgres_url, dataset(slow)).height == 1


def test_a_session_that_was_ended_as_idle_is_no_fault_of_the_query(postgres_url: str) -> None:
    asked = SourceQuery.of(dataset(), postgres_url, RowRange(since=SINCE, until=UNTIL))

    with pytest.raises(SourceUnavailable, match=r"is unavailable: .* idle-in-transaction"):
        be_idle(asked)


def be_idle(asked: SourceQuery) -> None:
    with session.session(asked) as conn:
        conn.execute(sa.text("SET idle_in_transaction_session_timeout = '50ms'"))
        time.sleep(0.5)
        conn.execute(sa.text("SELECT 1"))


def test_a_query_cannot_write(postgres_url: str) -> None:
    fill_postgres(postgres_url, "timestamptz", [("a", UNTIL, 1)])
    with psycopg.connect(postgres_url) as conn:
        conn.execute("CREATE SEQUENCE calls")
    query = "SELECT key AS series_id, ts AS timestamp, nextval('calls') AS value FROM measured"

    with pytest.raises(DataError, match="read-only transaction"):
        read(postgres_url, dataset(query))


def test_a_dataset_without_a_query_says_how_to_get_data(sqlite_source: str) -> None:
    with pytest.raises(DataError, match="has no query") as caught:
        read(sqlite_source, dataset(None))

    assert "forecaster ingest" in (caught.value.hint or "")


def test_a_sqlite_source_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="unable to open database file"):
        read(f"sqlite:///{tmp_path / 'missing.db'}")

    assert not (tmp_path / "missing.db").exists()


@pytest.mark.fault(20)
@pytest.mark.parametrize("host", ["127.0.0.1:1", "host.invalid"])
def test_a_source_that_does_not_answer_is_shown_without_its_password(host: str) -> None:
    with pytest.raises(SourceUnavailable, match="is unavailable: ") as caught:
        read(f"postgresql://bob:{CANARY}@{host}/db")

    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.hint}"
    assert "bob:***@" in caught.value.message


@pytest.mark.parametrize("scheme", ["mysql", "nonsense"])
def test_a_source_without_a_driver_says_so(scheme: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="no driver is installed") as caught:
        read(f"{scheme}://bob:{CANARY}@host/db")

    assert CANARY not in str(caught.value)


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    "address",
    [
        f"postgrezql://bob:{CANARY}@127.0.0.1:1/db",
        f"postgresql+nothing://bob:{CANARY}@127.0.0.1:1/db",
        f"postgresql://bob:{CANARY}%@127.0.0.1:1/db",
        f"postgresql://bob:{CANARY}%zz@127.0.0.1:1/db",
        f"postgresql://bob:{CANARY}@{CANARY}@127.0.0.1:1/db",
        f"postgresql://bob:{CANARY}'\\ =@127.0.0.1:1/db",
        f"postgresql://bob@127.0.0.1:1/db?password={CANARY}",
        f"postgresql://bob@127.0.0.1:1/db?sslmode=nonsense&password={CANARY}",
        f"postgresql://bob:{CANARY}@127.0.0.1:1/db?connect_timeout=soon",
        f"postgresql://bob:{CANARY}@127.0.0.1:x/db",
        f"postgresql:/bob:{CANARY}@127.0.0.1:1/db",
        f"sqlite:///{CANARY}/nowhere.db?password={CANARY}",
    ],
)
def test_a_malformed_address_gives_no_password_away(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((StoreError, DataError)) as caught:
        read(address)

    said = [caught.value.message, caught.value.hint or "", repr(caught.value.__cause__)]
    if not address.startswith("sqlite"):
        assert CANARY not in "".join([*said, str(caught.getrepr(style="native")).split("\n")[-2]])
    output = capfd.readouterr()
    assert CANARY not in output.out + output.err


def test_other_databases_are_read_by_their_own_driver_in_a_worker(sqlite_source: str) -> None:
    rows = [("a", UNTIL.isoformat(), 1), ("b", UNTIL.isoformat(), 2.5), ("c", "soon", "x")]
    fill(sqlite_source, rows)

    found = worker_pool.read(
        SourceQuery.of(dataset(), sqlite_source, RowRange(since=SINCE, until=UNTIL))
    )

    assert_frame_equal(found, read(sqlite_source), check_exact=True)


@pytest.mark.slow
def test_a_worker_imports_nothing_from_where_it_is_started(
    sqlite_source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_source, [("a", UNTIL.isoformat(), 1)])
    (tmp_path / "polars.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    worker_pool.end_idle()

    asked = SourceQuery.of(dataset(), sqlite_source, RowRange(since=SINCE, until=UNTIL))

    assert worker_pool.read(asked).height == 1


def test_a_worker_that_cannot_start_is_not_short_of_memory(
    sqlite_source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "polars.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker_pool.end_idle()

    with pytest.raises(SourceUnavailable, match="exited with status 3") as caught:
        worker_pool.read(
            SourceQuery.of(dataset(), sqlite_source, RowRange(since=SINCE, until=UNTIL))
        )

    assert "worker_process" in (caught.value.hint or "")
    assert "memory" not in (caught.value.hint or "")


def test_a_failure_of_another_driver_is_told_by_the_worker(sqlite_source: str) -> None:
    asked = SourceQuery.of(dataset("SELECT 1"), sqlite_source, RowRange(since=SINCE, until=UNTIL))

    with pytest.raises(DataError, match="does not return 'timestamp'"):
        worker_pool.read(asked)
    with pytest.raises(DataError, match="query of dataset bikes failed: ") as caught:
        worker_pool.read(replace(asked, query="SELEKT"))
    assert caught.value.hint == "fix query in [datasets.bikes]"


@pytest.mark.fault(7)
def test_a_query_that_never_ends_is_left_at_the_deadline(
    sqlite_source: str, postgres_url: str
) -> None:
    endless = (
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) "
        "SELECT 'a' AS series_id, max(i) AS timestamp, 1 AS value FROM n"
    )
    hasty = dataset(endless, read_timeout=timedelta(seconds=1))

    for url in (sqlite_source, postgres_url):
        with pytest.raises(SourceUnavailable, match="timed out after 1 s") as caught:
            read(url, hasty)
        assert "read_timeout" in (caught.value.hint or "")
