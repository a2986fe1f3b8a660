from pathlib import Path

import psycopg
import pytest

from forecaster.errors import DatabaseUnavailable, DataError, UnsupportedDatabase
from tests.store.sources import UNTIL, dataset, fill, fill_postgres, read

CANARY = "c4n4ry"


def test_a_missing_column_is_named_with_what_was_found(sqlite_source: str) -> None:
    query = "SELECT key AS station, ts AS Timestamp, value AS rentals FROM measured"

    with pytest.raises(DataError) as caught:
        read(sqlite_source, dataset(query, value_column="rental"))

    assert caught.value.message == (
        "query of dataset bikes must have columns 'timestamp', 'rental', 'series_id', "
        "found station, Timestamp, rentals"
    )
    assert caught.value.hint == (
        'did you mean timestamp_column = "Timestamp"?; did you mean value_column = "rentals"?; '
        "set series_columns, or name a column AS series_id"
    )


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
        with pytest.raises(DataError, match="query of dataset bikes must run, found: ") as caught:
            read(url, dataset(query))
        assert caught.value.hint == "correct query in [datasets.bikes]"
        assert read(url).height == 1


def test_a_query_cannot_write(postgres_url: str) -> None:
    fill_postgres(postgres_url, "timestamptz", [("a", UNTIL, 1)])
    with psycopg.connect(postgres_url) as conn:
        conn.execute("CREATE SEQUENCE calls")
    query = "SELECT key AS series_id, ts AS timestamp, nextval('calls') AS value FROM measured"

    with pytest.raises(DataError, match="read-only transaction"):
        read(postgres_url, dataset(query))


def test_a_dataset_without_a_query_says_how_to_get_data(sqlite_source: str) -> None:
    with pytest.raises(DataError, match="must have a query, found none") as caught:
        read(sqlite_source, dataset(None))

    assert "forecaster ingest" in (caught.value.hint or "")


def test_a_sqlite_source_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
        read(f"sqlite:///{tmp_path / 'missing.db'}")

    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("host", ["127.0.0.1:1", "host.invalid"])
def test_a_source_that_does_not_answer_is_shown_without_its_password(host: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="must answer, found: ") as caught:
        read(f"postgresql://bob:{CANARY}@{host}/db")

    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.hint}"
    assert "bob:***@" in caught.value.message


@pytest.mark.parametrize("scheme", ["mysql", "nonsense"])
def test_a_source_without_a_driver_says_so(scheme: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="must have an installed driver") as caught:
        read(f"{scheme}://bob:{CANARY}@host/db")

    assert CANARY not in str(caught.value)
