"""Timestamps that are numbers: dates by their digits, since 1970 by their size, or none."""

import pytest

from forecaster.errors import DataError
from tests.jobs.small import LAST, hour
from tests.shapes.places import Place, Row

HOURS = [hour(at) for at in range(LAST - 99, LAST + 1)]


def rows(layout: str) -> list[Row]:
    stamps = dict.fromkeys(int(f"{at:{layout}}") for at in HOURS)
    return [("a", stamp, 1.0) for stamp in stamps]


@pytest.fixture
def numbered(place: Place) -> Place:
    """A dataset whose timestamps are whole numbers."""
    place.kinds = place.kinds._replace(timestamp="bigint")
    place.declare(timezone="UTC")
    return place


@pytest.mark.parametrize("layout", ["%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S"])
def test_digits_of_a_date_are_that_date(numbered: Place, layout: str) -> None:
    account = numbered.bring(rows(layout), alone=True)

    assert (account.new, account.rejected) == (account.rows, {})
    starts = {at.replace(hour=0) if layout == "%Y%m%d" else at for at in HOURS}
    assert {at for at, _ in numbered.landed("a")} == starts


def test_seconds_since_1970_stay_what_they_are(numbered: Place) -> None:
    account = numbered.bring([("a", int(at.timestamp()), 1.0) for at in HOURS], alone=True)

    assert account.new == len(HOURS)
    assert [at for at, _ in numbered.landed("a")] == HOURS


@pytest.mark.parametrize("layout", ["%Y", "%Y%m", "%j"])
def test_small_numbers_are_refused_and_nothing_is_ingested(numbered: Place, layout: str) -> None:
    with pytest.raises(DataError, match="as seconds since 1970 it is 1970-01-0"):
        numbered.bring(rows(layout), alone=True)

    assert numbered.landed() == []


def test_placeholders_among_dates_are_not_ingested(file: Place) -> None:
    file.kinds = file.kinds._replace(timestamp="bigint")
    file.declare(timezone="UTC")
    dates = rows("%Y%m%d")

    account = file.bring([*dates, ("a", 0, 2.0), ("a", 99991231, 2.0)], alone=True)

    assert (account.new, account.rejected) == (len(dates), {"timestamp_out_of_range": 2})


def test_dates_among_seconds_are_rejected(file: Place) -> None:
    file.kinds = file.kinds._replace(timestamp="bigint")
    seconds: list[Row] = [("a", int(at.timestamp()), 1.0) for at in HOURS]

    account = file.bring([*seconds, ("a", int(f"{HOURS[0]:%Y%m%d}"), 2.0)], alone=True)

    assert (account.new, account.rejected) == (len(HOURS), {"ambiguous_timestamp": 1})
