"""What series may be called: whatever a column can hold, and none is taken for another."""

from io import BytesIO
from random import Random
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
