"""What series may be called: whatever a column can hold, and none is taken for another."""

from decimal import Decimal
from io import BytesIO
from random import Random
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from sqlalchemy import Engine

from jobs import ingest
from jobs.retrain import Challenger
from tests.jobs.small import HORIZON, LAST, hour
from tests.shapes.conftest import Check
from tests.shapes.places import Place, is_finite, series

DAYS = [float(place % 24) for place in range(100)]
KEYS = [
    pytest.param("Zürich/北京/🚲", id="unicode"),
    pytest.param("e\u0301 is not \u00e9", id="not normalised"),
    pytest.param('it\'s "quoted" `so` [and] {so}', id="quotes"),
    pytest.param("'; DROP TABLE series; --", id="semicolons"),
    pytest.param("two\nlines\tand\r\nmore", id="newline"),
    pytest.param("back\\slash \\N \\. %s :since ? $1", id="escapes"),
    pytest.param(" spaces ", id="spaces"),
    pytest.param(Random(1).randbytes(1_000).hex(), id="as long as may be"),
    pytest.param("NULL", id="null"),
    pytest.param("-0", id="number"),
    pytest.param("\ufeff\u200b\u202e", id="invisible"),
]


@pytest.mark.fault(19, 35)
@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_kept_as_it_is(place: Place, check: Check, key: str) -> None:
    account = place.bring(series(key, DAYS))

    assert (account.new, account.rejected, account.lost) == (100, {}, 0)
    assert place.landed(key) == [row[1:] for row in series(key, DAYS)]
    check(place, place.forecast())
    assert len(place.forecasts()[key]) == HORIZON


def test_rows_without_a_key_are_rejected(place: Place, check: Check) -> None:
    account = place.bring([(key, hour(LAST), 1.0) for key in (None, "", "")])

    assert account.rejected == {"missing_series_id": 3}
    assert account.lost == 0
    check(place, place.forecast())


TOO_LONG = ("k" * 10_000, Random(1).randbytes(5_000).hex(), "ä" * 1_001)


@pytest.mark.parametrize(
    "key", TOO_LONG, ids=("10 kB", "10 kB that no index compresses", "umlauts")
)
def test_a_key_that_no_index_holds_is_rejected(place: Place, check: Check, key: str) -> None:
    account = place.bring(series(key, DAYS))

    assert (account.rejected, account.lost) == ({"series_id_too_long": 100}, 0)
    check(place, place.forecast())


def test_a_key_that_postgres_cannot_hold_is_rejected_on_both_stores(
    file: Place, check: Check
) -> None:
    account = file.bring([("a\0b", hour(LAST), 1.0)])

    assert account.rejected == {"unreadable_series_id": 1}
    assert account.lost == 0
    check(file, file.forecast())


def test_keys_may_be_integers(place: Place) -> None:
    place.kinds = place.kinds._replace(key="bigint")
    keys = (7, -7, 2**63 - 1)

    account = place.bring([(key, *row[1:]) for key in keys for row in series("", DAYS)], alone=True)

    assert (account.new, account.lost) == (300, 0)
    place.forecast()
    assert set(place.forecasts()) == {"7", "-7", "9223372036854775807"}
    assert is_finite(place.forecasts())


TYPED: dict[str, dict[Any, str]] = {
    "numeric(20,0)": {1: "1", 2**53: "9007199254740992", 2**53 + 1: "9007199254740993"},
    "numeric(20,2)": {Decimal("1.00"): "1", Decimal("1.50"): "1.5", Decimal("100"): "100"},
    "double precision": {1.0: "1", 1.5: "1.5", -(2.0**53) + 1: "-9007199254740991"},
    "boolean": {True: "true", False: "false"},
    "bytea": {b"\0\xff": "\\x00ff", b"ab": "\\x6162"},
}
SQLITE: dict[str, dict[Any, str]] = {
    "numeric(20,2)": {1.0: "1", 1.5: "1.5", 100.0: "100"},
    "boolean": {1: "1", 0: "0"},
}


@pytest.mark.parametrize("kind", TYPED)
def test_keys_of_every_type_have_one_name(place: Place, kind: str) -> None:
    keys = TYPED[kind]
    if place.engine.dialect.name == "sqlite" and place.road == "pull":  # it has no such types
        keys = SQLITE.get(kind, keys)
    place.kinds = place.kinds._replace(key=kind)

    account = place.bring([(key, *row[1:]) for key in keys for row in series("", DAYS)], alone=True)

    texts = set(keys.values())
    assert (account.rows, account.new, account.lost) == (100 * len(texts), 100 * len(texts), 0)
    assert {key for key, *_ in place.landed()} == texts


def test_a_float_that_may_be_several_numbers_is_rejected(place: Place) -> None:
    place.kinds = place.kinds._replace(key="double precision")
    rows = [(key, *row[1:]) for key in (7.0, 2.0**53) for row in series("", DAYS)]

    account = place.bring(rows, alone=True)

    assert (account.new, account.rejected) == (100, {"inexact_series_id": 100})
    assert account.lost == 0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["1", "9007199254740992", "9007199254740993"],) * 2,
        (["1.0", "2.50", "9007199254740993"], ["1", "2.5", "9007199254740993"]),
        (["9007199254740992.0", "9007199254740993.0", "-0.0"],
         ["9007199254740992", "9007199254740993", "0"]),
        (["9223372036854775808", "18446744073709551615", "2.5"],) * 2,
        (["7", '"007"', "7.0", '"1e5"', "1e5", "true"], ["007", "1e5", "100000", "7", "true"]),
    ],
)  # fmt: skip
def test_keys_of_ndjson_are_the_numbers_that_are_written(
    engine: Engine, written: list[str], expected: list[str]
) -> None:
    place = Place(engine=engine, road="ingest")
    lines = [
        f'{{"timestamp": "{hour(at).isoformat()}", "series_id" : {key}, "value": {at}}}\n'
        for key in [*written, "null"]
        for at in range(3)
    ]

    report = ingest.run(
        engine,
        place.world.dataset,
        BytesIO("".join(lines).encode()),
        file_format="ndjson",
        now=place.now,
    )

    assert report.rejected == {"missing_series_id": 3}
    assert report.new + report.duplicates == 3 * len(written)
    assert sorted({key for key, *_ in place.landed()}) == sorted(expected)


def test_keys_of_csv_are_the_text_that_is_written(engine: Engine) -> None:
    place = Place(engine=engine, road="ingest")
    keys = ["007", "7", "1.0", "1e5", "9007199254740993", "true", "x"]
    lines = [f"{key},{hour(at).isoformat()},{at}" for key in keys for at in range(3)]
    content = "\n".join(["series_id,timestamp,value", *lines]).encode()

    report = ingest.run(
        engine, place.world.dataset, BytesIO(content), file_format="csv", now=place.now
    )

    assert (report.new, report.rejected) == (21, {})
    assert {key for key, *_ in place.landed()} == set(keys)


def test_padding_of_a_fixed_width_is_not_part_of_a_key(source: Place) -> None:
    source.kinds = source.kinds._replace(key="char(8)")

    account = source.bring(series("ab", DAYS), alone=True)

    assert (account.new, len(source.landed("ab"))) == (100, 100)


def test_keys_may_be_uuids(source: Place) -> None:
    source.kinds = source.kinds._replace(key="uuid")
    keys = [str(UUID(int=number)) for number in (1, 2**127)]

    account = source.bring(
        [(key, *row[1:]) for key in keys for row in series("", DAYS)], alone=True
    )

    assert (account.new, account.lost) == (200, 0)
    source.forecast()
    assert set(source.forecasts()) == set(keys)
    assert is_finite(source.forecasts())


def test_several_keys_with_the_separator_inside_are_not_mixed_up(
    engine: Engine, challenger: Challenger
) -> None:
    place = Place(engine=engine, road="ingest")
    place.adopt(challenger)
    place.declare(series_columns=("region", "meter"))
    pairs = [("a/b", "c"), ("a", "b/c"), ("a\\", "b/c"), ("a", "\\b/c"), ("", "a"), ("a", "")]
    rows = [(*pair, *row[1:]) for pair in pairs for row in series("", DAYS)]
    content = BytesIO()
    pl.DataFrame(
        rows, schema=["region", "meter", "timestamp", "value"], orient="row"
    ).write_parquet(content)

    report = ingest.run(
        engine,
        place.world.dataset,
        BytesIO(content.getvalue()),
        file_format="parquet",
        now=place.now,
    )

    assert (report.rows, report.new, report.rejected) == (600, 600, {})
    place.forecast()
    assert set(place.forecasts()) == {
        r"a\/b/c", r"a/b\/c", r"a\\/b\/c", r"a/\\b\/c", "/a", "a/"
    }  # fmt: skip
    assert is_finite(place.forecasts())
