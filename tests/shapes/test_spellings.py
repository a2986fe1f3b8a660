"""Timestamps in text, however they are spelled, from a source and from a file."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forecaster.errors import DataError
from tests.jobs.small import LAST, hour
from tests.shapes.conftest import Check
from tests.shapes.places import Place, Row

HOURS = 60


def bare(at: datetime) -> str:
    return f"{at.year}-{at.month}-{at.day} {at.hour}:{at.minute:02}"


SPELLINGS: dict[str, Any] = {
    "an hour of one digit": lambda at: f"{at:%Y-%m-%d} {at.hour}:{at:%M:%S}",
    "no leading zeros": bare,
    "slashes": lambda at: f"{at:%Y/%m/%d %H:%M}",
    "points": lambda at: f"{at:%Y.%m.%d %H:%M}",
    "basic ISO 8601": lambda at: f"{at:%Y%m%dT%H%M%SZ}",
    "24:00": lambda at: (
        f"{at - timedelta(days=1):%Y-%m-%d} 24:00" if at.hour == 0 else f"{at:%Y-%m-%d %H:%M}"
    ),
    "a comma before the fraction": lambda at: f"{at:%Y-%m-%d %H:%M:%S},000",
    "an offset of one digit": lambda at: f"{at + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}+1",
    "a zone in brackets": lambda at: f"{at:%Y-%m-%dT%H:%M:%S}+00:00[Europe/London]",
    "AM and PM": lambda at: f"{at:%Y-%m-%d %I:%M %p}",
    "English months": lambda at: f"{at:%d-%b-%Y %H:%M}",
    "RFC 2822": lambda at: f"{at:%a, %d %b %Y %H:%M:%S} +0000",
    "ISO weeks": lambda at: f"{at:%G-W%V-%uT%H:%M}",
    "blanks around": lambda at: f"  {at:%Y-%m-%d %H:%M}  ",
}


def spelled(place: Place, spelling: Any) -> list[Row]:
    """A series of one value an hour in one spelling, the dataset's zone being UTC."""
    place.kinds = place.kinds._replace(timestamp="text")
    place.declare(timezone="UTC")
    return [
        ("spelled", spelling(hour(LAST - HOURS + back)), float(back % 24))
        for back in range(1, HOURS + 1)
    ]


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_timestamp_that_can_mean_one_time_only_is_read(place: Place, name: str) -> None:
    account = place.bring(spelled(place, SPELLINGS[name]))

    assert (account.new, account.rejected, account.lost) == (HOURS, {}, 0)
    assert [at for at, _ in place.landed("spelled")] == [
        hour(LAST - HOURS + back) for back in range(1, HOURS + 1)
    ]


@pytest.mark.parametrize("name", ["no leading zeros", "slashes", "English months"])
def test_text_that_is_not_in_the_order_of_time_is_not_lost_in_a_pull(
    source: Place, name: str
) -> None:
    rows = spelled(source, SPELLINGS[name])
    source.bring(rows[:-2])

    source.arrive(rows[-2:])
    report = source.pull()

    assert (report.new, report.rejected) == (2, {})
    assert len(source.landed("spelled")) == HOURS


def test_a_query_that_loses_text_by_comparing_it_fails_the_pull(source: Place) -> None:
    rows = spelled(source, SPELLINGS["English months"])
    source.arrive(rows)
    query = source.world.dataset.query
    source.declare(query=f"{query} WHERE at > :since AND at <= :until")

    with pytest.raises(DataError, match=r"does not sort chronologically|operator does not exist"):
        source.pull()

    source.declare(query=query)
    assert source.pull().new == HOURS


@pytest.mark.parametrize(
    ("spelling", "first"),
    [("%Y-%m", "2024-01"), ("%Y-Q{quarter}", "2024-Q1"), ("%G-W%V", "2024-W01")],
)
def test_months_quarters_and_weeks_are_their_first_day(
    place: Place, spelling: str, first: str
) -> None:
    place.kinds = place.kinds._replace(timestamp="text")
    place.declare(timezone="UTC", history=timedelta(days=3_650))
    at = datetime(2024, 1, 1, tzinfo=UTC)
    text = at.strftime(spelling).format(quarter=1)
    assert text == first

    account = place.bring([("spans", text, 1.0)])

    assert (account.new, account.rejected) == (1, {})
    assert place.landed("spans") == [(at, 1.0)]


@pytest.mark.parametrize("spelling", ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y", "%y-%m-%d"])
def test_a_timestamp_that_can_mean_several_times_is_never_guessed_row_by_row(
    place: Place, check: Check, spelling: str
) -> None:
    rows = spelled(place, lambda at: at.strftime(spelling))[-2:]

    account = place.bring(rows)

    assert (account.new, account.rejected) == (0, {"ambiguous_timestamp": 2})
    check(place, place.forecast())
