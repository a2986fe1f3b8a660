import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, make_url

from forecaster.config import DatasetConfig
from forecaster.durations import Step
from forecaster.errors import DatabaseUnavailable, DataError, UnsupportedDatabase
from forecaster.frames import INSTANT
from forecaster.store.source import read_source

DAY = datetime(2026, 11, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
SINCE, UNTIL = DAY + 6 * HOUR, DAY + 12 * HOUR
QUERY = "SELECT key AS series_id, ts AS timestamp, value FROM measured"
CANARY = "c4n4ry"


def dataset(query: str | None = QUERY, **settings: Any) -> DatasetConfig:
    return DatasetConfig(
        name="bikes",
        step=Step.parse("1h"),
        prediction_length=2,
        query=query,
        forecast_every=HOUR,
        retrain_every=24 * HOUR,
        history=240 * HOUR,
        late_data=2 * HOUR,
        **settings,
    )


def hours(count: int = 96) -> list[datetime]:
    """Every hour from two days before DAY on."""
    return [DAY + (hour - 48) * HOUR for hour in range(count)]


@pytest.fixture
def sqlite_source(tmp_path: Path) -> str:
    """A SQLite file with an empty table `measured` of whatever types."""
    path = tmp_path / "odd #%20?name.db"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE measured (key, ts, value)")
    conn.close()
    return URL.create("sqlite", database=str(path)).render_as_string()


def fill(url: str, rows: Sequence[Sequence[Any]]) -> None:
    conn = sqlite3.connect(make_url(url).database or "")
    conn.executemany("INSERT INTO measured VALUES (?, ?, ?)", rows)
    conn.commit()
    conn.close()


def fill_postgres(url: str, kind: str, rows: Sequence[Sequence[Any]]) -> None:
    with psycopg.connect(url) as conn, conn.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TABLE measured (key text, ts {}, value numeric)").format(sql.SQL(kind))
        )
        cursor.executemany("INSERT INTO measured VALUES (%s, %s, %s)", rows)


def read(url: str, given: DatasetConfig | None = None) -> pl.DataFrame:
    return read_source(given or dataset(), url, since=SINCE, until=UNTIL)


@pytest.mark.parametrize("separator", [" ", "T"])
@pytest.mark.parametrize("suffix", ["", "Z", "+00:00"])
def test_text_of_either_spelling_lets_no_row_of_the_range_slip(
    sqlite_source: str, separator: str, suffix: str
) -> None:
    texts = [f"{instant:%Y-%m-%d}{separator}{instant:%H:%M:%S}{suffix}" for instant in hours()]
    fill(sqlite_source, [("a", text, 1.0) for text in texts])

    found = read(sqlite_source)

    wanted = {text for text, at in zip(texts, hours(), strict=True) if SINCE <= at <= UNTIL}
    assert wanted <= set(found["timestamp"])
    assert found.height < len(texts)


@pytest.mark.parametrize("per_second", [1, 1_000, 1_000_000, 1_000_000_000])
def test_numbers_are_compared_in_every_unit(sqlite_source: str, per_second: int) -> None:
    fill(sqlite_source, [("a", 5, 0.0)])  # an odd first row does not decide on the unit
    numbers = [int(instant.timestamp()) * per_second for instant in hours()]
    fill(sqlite_source, [("a", number, 1.0) for number in numbers])

    found = read(sqlite_source)

    assert found["timestamp"].to_list() == [
        number
        for number, instant in zip(numbers, hours(), strict=True)
        if SINCE <= instant <= UNTIL
    ]


def test_text_that_is_no_iso_date_is_all_read(sqlite_source: str) -> None:
    fill(sqlite_source, [("a", f"{instant:%d.%m.%Y %H:%M}", 1.0) for instant in hours()])

    assert read(sqlite_source).height == len(hours())


@pytest.mark.parametrize(
    ("kind", "timezone"),
    [("timestamptz", None), ("timestamptz", "America/New_York"), ("timestamp", "Europe/Berlin")],
)
def test_instants_of_postgresql_are_read_in_their_range(
    postgres_url: str, kind: str, timezone: str | None
) -> None:
    rows = [("a", instant, 1.5) for instant in hours()]
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET timezone = {}").format(
                sql.Identifier(conn.info.dbname), sql.Literal(timezone or "Asia/Tokyo")
            )
        )
    fill_postgres(postgres_url, kind, rows)

    found = read(postgres_url, dataset(timezone=timezone))

    if kind == "timestamptz":
        assert found.schema["timestamp"] == INSTANT
        assert found["timestamp"].to_list() == [at for at in hours() if SINCE <= at <= UNTIL]
        return
    instants = found["timestamp"].dt.replace_time_zone(timezone).dt.convert_time_zone("UTC")
    assert found.schema["timestamp"] == pl.Datetime("us")
    assert {at for at in hours() if SINCE <= at <= UNTIL} <= set(instants)
    assert found.height < 15


def test_dates_of_postgresql_are_days_of_the_declared_zone(postgres_url: str) -> None:
    days = [date(2026, 11, day) for day in range(1, 30)]
    fill_postgres(postgres_url, "date", [("a", day, Decimal("2.5")) for day in days])

    found = read_source(
        dataset(timezone="America/New_York"),
        postgres_url,
        since=datetime(2026, 11, 10, 5, tzinfo=UTC),
        until=datetime(2026, 11, 12, 5, tzinfo=UTC),
    )

    assert found["timestamp"].to_list() == [date(2026, 11, day) for day in (10, 11, 12)]
    assert found["value"].to_list() == [2.5] * 3


def test_an_infinite_timestamp_does_no_harm(postgres_url: str) -> None:
    fill_postgres(
        postgres_url,
        "timestamptz",
        [("a", "infinity", 1), ("a", "-infinity", 1), ("a", None, 1), ("a", UNTIL, "NaN")],
    )

    found = read(postgres_url)

    assert found["timestamp"].to_list() == [UNTIL]


def test_a_query_may_use_since_and_until_itself(postgres_url: str, sqlite_source: str) -> None:
    own = QUERY + " WHERE ts > :since AND ts < :until AND ':since' <> '{\"a\":1}' -- the end"
    fill_postgres(postgres_url, "timestamptz", [("a", instant, 1) for instant in hours()])
    fill(sqlite_source, [("a", instant.isoformat(), 1) for instant in hours()])

    in_postgres = read(postgres_url, dataset(own))
    in_sqlite = read(sqlite_source, dataset(own))

    assert in_postgres["timestamp"].to_list() == [at for at in hours() if SINCE < at < UNTIL]
    assert {at.isoformat() for at in hours() if SINCE < at < UNTIL} <= set(in_sqlite["timestamp"])


def test_columns_of_any_name_are_names_and_nothing_else(sqlite_source: str) -> None:
    odd = 'x"; DROP TABLE measured; --'
    quoted = odd.replace('"', '""')
    fill(sqlite_source, [("a", int(UNTIL.timestamp()), 1.0)])
    query = (
        f'SELECT key AS "Group", key AS "{quoted}", ts AS "order", value AS "Value%" FROM measured'
    )

    found = read(
        sqlite_source,
        dataset(
            query,
            series_columns=("Group", odd),
            timestamp_column="order",
            value_column="Value%",
        ),
    )

    assert found.columns == ["Group", odd, "order", "Value%"]
    assert read(sqlite_source).height == 1


def test_columns_get_the_type_that_holds_all_values(sqlite_source: str) -> None:
    at = int(UNTIL.timestamp())
    fill(sqlite_source, [(1, at, 1), (2, at, 2.5), ("x", at, None), (None, at, 2**62)])

    found = read(sqlite_source)

    assert found.schema == {"series_id": pl.String, "timestamp": pl.Int64, "value": pl.Float64}
    assert found["series_id"].to_list() == ["1", "2", "x", None]
    assert found["value"].to_list() == [1.0, 2.5, None, 2.0**62]


def test_nothing_new_is_a_frame_without_rows(sqlite_source: str) -> None:
    found = read(sqlite_source)

    assert found.columns == ["series_id", "timestamp", "value"]
    assert found.is_empty()


def test_many_rows_come_in_parts(sqlite_source: str) -> None:
    at = int(UNTIL.timestamp())
    rows = [("a", at, number) for number in range(100_001)]
    fill(sqlite_source, [*rows, ("b", at, 0.5)])

    found = read(sqlite_source)

    assert found.height == 100_002
    assert found.schema["value"] == pl.Float64


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


def test_our_own_database_can_be_the_source_while_it_is_written(sqlite_source: str) -> None:
    fill(sqlite_source, [("a", int(UNTIL.timestamp()), 1.0)])
    writer = sqlite3.connect(make_url(sqlite_source).database or "", isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM measured")

    found = read(sqlite_source)

    writer.close()
    assert found.height == 1
