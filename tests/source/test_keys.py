"""Series' keys as sources hold them: the same exact text from every type and by every driver."""

import psycopg
import pytest

from forecaster.ingestion.normalize import Columns, normalize
from forecaster.source import worker_process
from forecaster.source.query import RowRange, SourceQuery
from tests.source.sources import (
    SINCE,
    UNTIL,
    dataset,
    fill,
    read,
)


def test_columns_of_any_type_are_read(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as conn:
        conn.execute("CREATE TYPE mood AS ENUM ('good')")
        conn.execute("CREATE DOMAIN place AS integer")
    kinds = {
        "'good'::mood": "good",
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "'{\"a\": 1}'::jsonb": '{"a": 1}',
        "'1 day'::interval": "1 day",
        "'10.0.0.1'::inet": "10.0.0.1/32",
        "ARRAY['a']": "{a}",
        "'ab'::char(3)": "ab",
        "'ab '::varchar": "ab ",
        "'\\x00ff'::bytea": "\\x00ff",
        "'x'::name": "x",
        "true": "true",
        "7::smallint": "7",
        "7::place": "7",
        "4000000000::oid": "4000000000",
        "2.5::numeric": "2.5",
        "1::numeric(20,0)": "1",
        "1.50::numeric(20,6)": "1.5",
        "100::numeric(20,2)": "100",
        "0.00::numeric": "0",
        "-0.10::numeric": "-0.1",
        "9007199254740993::numeric(20,0)": "9007199254740993",
        "12345678901234567890123456789012345678::numeric(38,0)": (
            "12345678901234567890123456789012345678"
        ),
        "1e400::numeric": "1" + "0" * 400,
        "1e-400::numeric": "0." + "0" * 399 + "1",
        "'1234.50'::numeric::money": "1234.5",
        "1::real": "1",
        "0.1::real": "0.1",
        "16777215::real": "16777215",
        "1e-7::float8": "0.0000001",
        "9007199254740991::float8": "9007199254740991",
        "'007'::text": "007",
        "'1.0'::text": "1.0",
        "date '2026-11-20'": "2026-11-20",
    }

    for expression, key in kinds.items():
        query = f"SELECT {expression} AS series_id, timestamptz '{UNTIL}' AS timestamp, 1 AS value"
        found = normalize(read(postgres_url, dataset(query)), Columns(), timezone=None)
        assert found.observations["series_id"].to_list() == [key]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("16777216::real", "inexact_series_id"),
        ("9007199254740992::float8", "inexact_series_id"),
        ("-1e300::float8", "inexact_series_id"),
        ("'NaN'::float8", "missing_series_id"),
        ("'-Infinity'::real", "missing_series_id"),
        ("'NaN'::numeric", "missing_series_id"),
        ("NULL::numeric(20,0)", "missing_series_id"),
        ("'   '::char(3)", "missing_series_id"),
    ],
)
def test_keys_that_name_no_one_series_are_rejected(
    postgres_url: str, expression: str, reason: str
) -> None:
    query = f"SELECT {expression} AS series_id, timestamptz '{UNTIL}' AS timestamp, 1 AS value"

    found = normalize(read(postgres_url, dataset(query)), Columns(), timezone=None)

    assert found.rejected == {reason: 1}


MIXED_KEYS = {
    7: "7", 1.0: "1", 2.5: "2.5", -0.0: "0", 2**53 + 1: "9007199254740993", "007": "007",
    "1.0": "1.0", "1e5": "1e5", b"\x00\xff": "\\x00ff", -(2**63): "-9223372036854775808",
}  # fmt: skip


@pytest.mark.parametrize("worker", [False, True], ids=["here", "generic driver"])
def test_keys_of_sqlite_are_exact_whatever_stands_beside_them(
    sqlite_source: str, worker: bool
) -> None:
    at = int(UNTIL.timestamp())
    fill(sqlite_source, [(key, at, 1.0) for key in (*MIXED_KEYS, 2.0**53, 1e20, None)])

    if worker:
        wanted = RowRange(since=SINCE, until=UNTIL)
        raw = worker_process.read(SourceQuery.of(dataset(), sqlite_source, wanted))
    else:
        raw = read(sqlite_source)

    found = normalize(raw, Columns(), timezone=None)
    assert set(found.observations["series_id"]) == set(MIXED_KEYS.values())
    assert found.rejected == {"inexact_series_id": 2, "missing_series_id": 1}
    assert found.duplicates == 0


def test_keys_of_parts_of_different_types_stay_exact(sqlite_source: str) -> None:
    at = int(UNTIL.timestamp())
    rows = [(2**53 + odd, at, float(odd)) for odd in (0, 1)] * 25_000
    fill(sqlite_source, [*rows, (0.5, at, 1.0)])

    assert set(read(sqlite_source)["series_id"]) == {"9007199254740992", "9007199254740993", "0.5"}
