"""When rows arrived, by the `ingest_column` of a source."""

from datetime import datetime, timedelta

import polars as pl
import psycopg
import pytest

from forecaster.config.settings import DatasetConfig
from forecaster.source import read
from forecaster.source.arrivals import arrivals_of
from forecaster.source.query import RowRange
from tests.source.sources import SINCE, UNTIL, dataset, fill, hours

LATE = timedelta(minutes=7)
QUERY = "SELECT 'a' AS series_id, key AS timestamp, 1 AS value, ts AS seen FROM measured"
WANTED = RowRange(since=SINCE, until=UNTIL, arrivals=True)


def read_arrivals(settings: DatasetConfig, url: str) -> pl.DataFrame | None:
    return arrivals_of(read.read_rows(settings, url, WANTED), settings, WANTED)


def expected() -> list[tuple[str, datetime, datetime]]:
    return [("a", at, at + LATE) for at in hours() if SINCE <= at <= UNTIL]


@pytest.mark.parametrize(
    ("written", "timezone", "is_known"),
    [
        ("%Y-%m-%d %H:%M:%S", "UTC", True),
        ("%Y-%m-%d %H:%M:%S", None, False),
        ("%Y-%m-%d %H:%M:%S", "Europe/Berlin", False),
        ("%Y-%m-%dT%H:%M:%S+00:00", "Europe/Berlin", True),
        ("%s", "UTC", False),
        ("1%H", "UTC", False),
    ],
)
def test_text_is_an_arrival_where_it_is_one_instant(
    sqlite_source: str, written: str, timezone: str | None, is_known: bool
) -> None:
    fill(sqlite_source, [(f"{at:%Y-%m-%dT%H:%M}Z", f"{at + LATE:{written}}", 1) for at in hours()])

    found = read_arrivals(dataset(QUERY, ingest_column="seen", timezone=timezone), sqlite_source)

    if is_known:
        assert found is not None
        inside = found.filter(found["timestamp"].is_between(SINCE, UNTIL)).sort("timestamp")
        assert inside.rows() == expected()
    else:
        assert found is None


@pytest.mark.parametrize(("kind", "is_known"), [("timestamptz", True), ("bigint", False)])
def test_a_column_of_postgresql_is_an_arrival_where_it_has_instants(
    postgres_url: str, kind: str, is_known: bool
) -> None:
    with psycopg.connect(postgres_url) as conn, conn.cursor() as cursor:
        seen = "at + interval '7 min'" if is_known else "extract(epoch FROM at)::bigint"
        cursor.execute(
            f"CREATE TABLE measured AS SELECT 'a' AS key, at, {seen} AS seen FROM generate_series("
            f"'{hours()[0]}'::timestamptz, '{hours()[-1]}', '1 hour') AS at"
        )
    query = "SELECT key AS series_id, at AS timestamp, 1 AS value, seen FROM measured"

    found = read_arrivals(dataset(query, ingest_column="seen"), postgres_url)

    assert found is None if not is_known else found is not None
    assert not is_known or (found is not None and sorted(found.rows()) == expected())


@pytest.mark.parametrize("column", [None, "series_id", "timestamp"])
def test_a_key_or_a_timestamp_is_no_arrival(sqlite_source: str, column: str | None) -> None:
    fill(sqlite_source, [(f"{at:%Y-%m-%dT%H:%M}Z", "", 1) for at in hours()])
    settings = dataset(QUERY, ingest_column=column)

    assert read_arrivals(settings, sqlite_source) is None
    rows = read.read_rows(settings, sqlite_source, WANTED)
    assert rows.columns == ["series_id", "timestamp", "value"]
