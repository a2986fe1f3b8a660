"""Timestamps that are numbers in a source: found by bounds in their form, refused where unclear."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from forecaster.errors import DataError
from forecaster.ingestion.normalize import Columns, normalize
from forecaster.source.query import RowRange
from forecaster.source.read import read_rows
from tests.source.sources import (
    SINCE,
    UNTIL,
    dataset,
    fill,
    fill_postgres,
    hours,
    read,
)

LAYOUTS = ("%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
KINDS = ("bigint", "numeric(20,0)", "double precision")
ZONE = "America/New_York"


@pytest.fixture(params=["sqlite", *(pytest.param(kind, marks=pytest.mark.postgres)
                                    for kind in KINDS)])  # fmt: skip
def place(request: pytest.FixtureRequest) -> Any:
    """A source without rows, and what fills its `measured` with numbers as timestamps."""
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_source")
        return url, lambda rows: fill(url, rows)
    url = request.getfixturevalue("postgres_url")
    return url, lambda rows: fill_postgres(url, request.param, rows)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dates_written_as_numbers_are_found_in_their_range(place: Any, layout: str) -> None:
    url, put = place
    local = [instant.astimezone(ZoneInfo(ZONE)) for instant in hours()]
    starts = sorted({at.replace(hour=0) if layout == "%Y%m%d" else at for at in local})
    put([("a", int(f"{at:{layout}}"), place) for place, at in enumerate(starts)])
    since, until = SINCE - timedelta(days=1), UNTIL

    found = read_rows(dataset(timezone=ZONE), url, RowRange(since=since, until=until))

    taken = normalize(found, Columns(), timezone=ZONE).observations
    assert {at for at in starts if since <= at <= until} <= set(taken["timestamp"])
    assert found.height < len(starts)


@pytest.mark.parametrize(
    "numbers",
    [range(500), [2024, 2025, 2026], [46345, 46346], [202610, 202611], [0, 0], [20_777]],
    ids=["counter", "year", "spreadsheet", "month", "zero", "day"],
)
def test_numbers_that_are_no_instants_are_refused_though_no_row_is_in_range(
    place: Any, numbers: list[int]
) -> None:
    url, put = place
    put([("a", number, 1) for number in numbers])

    with pytest.raises(DataError, match="as seconds since 1970 it is 1970") as caught:
        read(url, dataset(timezone="UTC"))

    assert "'timestamp'" in caught.value.message


def test_odd_numbers_at_the_head_do_not_hide_instants(place: Any) -> None:
    url, put = place
    put(
        [
            *(("a", number, 1) for number in range(200)),
            *(("a", int(instant.timestamp()), 1) for instant in hours()),
        ]
    )

    found = read(url)

    assert len(found) == len([at for at in hours() if SINCE <= at <= UNTIL])


def test_columns_without_a_number_are_no_reason_to_refuse(place: Any) -> None:
    url, put = place
    put([("a", None, Decimal(1) if url.startswith("postgres") else 1)])

    assert read(url).height <= 1
