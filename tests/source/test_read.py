import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from forecaster.errors import SourceUnavailable
from forecaster.ingestion.normalize import Columns, normalize
from forecaster.schemas import INSTANT
from forecaster.source.query import RowRange
from forecaster.source.read import read_rows
from tests.source.sources import (
    DAY,
    HOUR,
    QUERY,
    SINCE,
    UNTIL,
    dataset,
    fill,
    fill_postgres,
    hours,
    read,
)


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

    found = read_rows(
        dataset(timezone="America/New_York"),
        postgres_url,
        RowRange(
            since=datetime(2026, 11, 10, 5, tzinfo=UTC),
            until=datetime(2026, 11, 12, 5, tzinfo=UTC),
        ),
    )

    assert found["timestamp"].to_list() == [date(2026, 11, day) for day in (10, 11, 12)]
    assert found["value"].to_list() == [2.5] * 3


@pytest.mark.fault(13)
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_timestamps_that_lie_nowhere_are_read_so_that_they_are_counted(
    postgres_url: str, kind: str
) -> None:
    nowhere = ["infinity", "-infinity", "9999-12-31", "20000-01-01", "4000-01-01 BC", None]
    rows = [("a", at, 1) for at in [*nowhere, "2026-11-20 00:00", "2020-01-01"]]
    fill_postgres(postgres_url, "text", rows)
    with psycopg.connect(postgres_url, options="-c TimeZone=UTC") as conn:
        conn.execute(f"ALTER TABLE measured ALTER ts TYPE {kind} USING ts::{kind}")

    found = read_rows(
        dataset(timezone="UTC"), postgres_url, RowRange(since=DAY - HOUR, until=UNTIL)
    )

    intake = normalize(found, Columns(), timezone="UTC")
    assert intake.rejected == {"missing_timestamp": 1, "timestamp_out_of_range": 5}
    assert intake.observations.height == 1
    without = read_rows(
        dataset(timezone="UTC"), postgres_url, RowRange(since=DAY - HOUR, until=UNTIL, odd=False)
    )
    assert without.height == 1


def test_numbers_of_any_type_are_read(postgres_url: str) -> None:
    values = {
        "0.5::real": 0.5,
        "true": 1.0,
        "'7'::text": 7.0,
        "1e-400::numeric": 0.0,
        "-123456789012345678901234567890.5::numeric": -123456789012345678901234567890.5,
        "NULL::numeric": None,
        "1234.5678901::numeric(20,6)": 1234.56789,
        "'-1234567.89'::numeric::money": -1234567.89,
        "'2.5  '::char(8)": 2.5,
    }
    wrong = ["1e400::numeric", "'NaN'::numeric", "'-Infinity'::float8", "'1 day'::interval"]

    for expression in [*values, *wrong]:
        at = f"timestamptz '{UNTIL}' AS timestamp"
        query = f"SELECT 'a' AS series_id, {at}, {expression} AS value"
        found = normalize(read(postgres_url, dataset(query)), Columns(), timezone=None)
        expected = [values[expression]] if expression in values else []
        assert found.observations["value"].to_list() == expected
        assert len(found.rejected) == (expression in wrong)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "text", "bigint"])
def test_rows_without_a_timestamp_are_read_so_that_they_are_counted(
    postgres_url: str, sqlite_source: str, kind: str
) -> None:
    given = {"text": f"{UNTIL:%Y-%m-%d %H:%M}", "bigint": int(UNTIL.timestamp())}.get(kind, UNTIL)
    rows = [("a", given, 1), ("a", None, 2), ("b", None, 3)]
    fill_postgres(postgres_url, kind, rows)
    fill(sqlite_source, [(key, str(at) if at else None, value) for key, at, value in rows])

    for url in (postgres_url, sqlite_source):
        assert read(url, dataset(timezone="UTC"))["timestamp"].null_count() == 2


@pytest.mark.parametrize("word", ["", "soon", "n/a", "-", "ÿ", "∞"])
def test_text_that_is_no_instant_is_read_so_that_it_is_counted(
    postgres_url: str, sqlite_source: str, word: str
) -> None:
    rows = [("a", UNTIL.isoformat(), 1), ("b", word, 2), ("c", "2020-01-01 00:00", 3)]
    fill_postgres(postgres_url, "text", rows)
    fill(sqlite_source, rows)

    for url in (postgres_url, sqlite_source):
        assert set(read(url)["series_id"]) == {"a", "b"}


def test_a_query_may_use_since_and_until_itself(postgres_url: str, sqlite_source: str) -> None:
    own = QUERY + " WHERE ts > :since AND ts < :until AND ':since' <> '{\"a\":1}' -- the end"
    fill_postgres(postgres_url, "timestamptz", [("a", instant, 1) for instant in hours()])
    fill(sqlite_source, [("a", instant.isoformat(), 1) for instant in hours()])

    in_postgres = read(postgres_url, dataset(own))
    in_sqlite = read(sqlite_source, dataset(own))

    wanted = [at for at in hours() if SINCE <= at <= UNTIL]
    assert in_postgres["timestamp"].to_list() == wanted
    assert {at.isoformat() for at in wanted} <= set(in_sqlite["timestamp"])


@pytest.mark.fault(19)
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


def test_our_own_database_can_be_the_source_while_it_is_written(sqlite_source: str) -> None:
    fill(sqlite_source, [("a", int(UNTIL.timestamp()), 1.0)])
    writer = sqlite3.connect(make_url(sqlite_source).database or "", isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM measured")

    found = read(sqlite_source)

    writer.close()
    assert found.height == 1


@pytest.mark.parametrize("wanted", ["any", "primary", "read-write", "prefer-standby", "read-only"])
def test_an_address_may_say_which_of_several_servers_is_meant(
    postgres_url: str, wanted: str
) -> None:
    fill_postgres(postgres_url, "timestamptz", [("a", instant, 1.5) for instant in hours()])
    url = make_url(postgres_url)
    several = url.set(host=None, port=None).update_query_dict(
        {"host": [f"{url.host}:1", f"{url.host}:{url.port}"], "target_session_attrs": wanted}
    )

    found = read(several.render_as_string(hide_password=False))

    assert found.height == 7


def test_a_standby_is_not_read_where_the_leader_was_meant(postgres_url: str) -> None:
    url = make_url(postgres_url).update_query_dict({"target_session_attrs": "standby"})

    with pytest.raises(SourceUnavailable, match="hot standby"):
        read(url.render_as_string(hide_password=False))


@pytest.mark.parametrize("first", ["text", "numbers"])
def test_text_beside_numbers_in_a_column_of_sqlite_hides_neither(
    sqlite_source: str, first: str
) -> None:
    text = [("a", f"{instant:%Y-%m-%d %H:%M}", 1.0) for instant in hours()]
    numbers = [("b", int(instant.timestamp()), 1.0) for instant in hours()]
    fill(sqlite_source, [*text, *numbers] if first == "text" else [*numbers, *text])

    found = normalize(read(sqlite_source), Columns(), timezone="UTC").observations

    inside = found.filter(pl.col("timestamp").is_between(SINCE, UNTIL))
    assert inside["series_id"].to_list() == ["a"] * 7 + ["b"] * 7
