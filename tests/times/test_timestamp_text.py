"""Times in text: what means one time only is read, what means several is told apart."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.times import timestamp_formats, timestamp_text

FIRST = datetime.fromisoformat("1900-01-01")
LAST = datetime.fromisoformat("2199-12-31")


def told(text: str, declared: str | None = None) -> datetime | None:
    """An instant in UTC, a naive time on a wall clock, or None."""
    read = timestamp_text.read(pl.Series("at", [text]), declared)
    utc, wall = (part.cast(pl.Datetime("us")).item() for part in (read.utc, read.wall))
    assert utc is None or wall is None
    found: datetime | None = wall if utc is None else utc.replace(tzinfo=UTC)
    return found


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("2026-01-01 9:00", "2026-01-01 09:00"),
        ("2026-01-01T9:05:07", "2026-01-01 09:05:07"),
        ("2026/01/01", "2026-01-01"),
        ("2026/1/1 0:00", "2026-01-01"),
        ("2026-1-1", "2026-01-01"),
        ("2026.01.02 10:00", "2026-01-02 10:00"),
        ("20260101T0900", "2026-01-01 09:00"),
        ("20260101T09", "2026-01-01 09:00"),
        ("20260101 09:00", "2026-01-01 09:00"),
        ("2026-01-01T0900", "2026-01-01 09:00"),
        ("2026-01-01  09:00", "2026-01-01 09:00"),
        ("2026-01-01 24:00", "2026-01-02"),
        ("2025-12-31T24:00:00", "2026-01-01"),
        ("2026-01-01 09:00:00,123", "2026-01-01 09:00:00.123"),
        ("2026-01-01 09:00 PM", "2026-01-01 21:00"),
        ("2026-01-01 12:30 a.m.", "2026-01-01 00:30"),
        ("2026-01-01 12:30pm", "2026-01-01 12:30"),
        ("2026-02", "2026-02-01"),
        ("2026-Q2", "2026-04-01"),
        ("2026Q4", "2026-10-01"),
        ("Q1 2026", "2026-01-01"),
        ("2026-W05", "2026-01-26"),
        ("2026W05", "2026-01-26"),
        ("2026-W5", "2026-01-26"),
        ("2026-W05-7", "2026-02-01"),
        ("2026W017", "2026-01-04"),
        ("01-Jan-2026", "2026-01-01"),
        ("1 January 2026 9:00", "2026-01-01 09:00"),
        ("Jan 1, 2026", "2026-01-01"),
        ("Sept 30, 2026 11:59 PM", "2026-09-30 23:59"),
        ("01JAN2026:09:00:00", "2026-01-01 09:00"),
        ("2026-Mar-01", "2026-03-01"),
        ("May 2026", "2026-05-01"),
        ("1st May 2026", "2026-05-01"),
    ],
)
def test_a_time_that_can_mean_one_thing_only_is_read(text: str, wall: str) -> None:
    assert told(text) == datetime.fromisoformat(wall)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T10:00+1",
        "2026-01-01T10:00+01",
        "2026-01-01 10:00 +0100",
        "2026-01-01T10:00+1:00",
        "2026-1-1T10:00:00,000 +01:00",
        "2026-01-01T10:00:00+01:00[Europe/Berlin]",
        "2026-01-01 10:00 UTC+1",
        "20260101T090000Z",
        "20260101T100000+0100",
        "2026-01-01t09:00z",
        "2026-01-01 9:00 GMT",
        "2026-01-01T06:00−03:00",
        "2026-01-01T05:30-0330",
        "Thu, 01 Jan 2026 09:00:00 GMT",
        "Thu, 1 Jan 2026 10:00:00 +0100",
        "01/Jan/2026:09:00:00 +0000",
    ],
)
def test_an_offset_is_read_however_it_is_written(text: str) -> None:
    assert told(text) == datetime(2026, 1, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30", "2026-13-01", "2026-00-10", "2026-13", "2026-W54", "2025-W53", "2026-032",
        "2026-Q5", "2026-01-01 24:01", "2026-01-01 25:00", "2026-01-01 9:61", "2026-01-01 9",
        "2026-01-01 13:00 PM", "2026-01-01 0:30 AM", "2026-01-01-09:00", "2026-1",
        "2026-01-01T09:00[Europe/Berlin]", "2026-01-01T09:00+25:00", "2026-01-01T09:00 CET",
        "1 Januar 2026", "soon", "9:00", "2026", "-", "NA", "infinity",
    ],
)  # fmt: skip
def test_what_is_no_time_is_not_read(text: str) -> None:
    read = timestamp_text.read(pl.Series("at", [text]), None)

    assert told(text) is None
    assert not read.is_ambiguous.any()


@pytest.mark.parametrize(
    "text",
    [
        "01/02/2026", "13/01/2026", "1.2.2026", "01-02-2026 09:00", "1/2/2026 9:00 AM",
        "01/02/26", "26-01-02", "01-Jan-26", "1. 2. 2026",
    ],
)  # fmt: skip
def test_a_time_that_can_mean_several_is_never_guessed(text: str) -> None:
    read = timestamp_text.read(pl.Series("at", [text]), None)

    assert told(text) is None
    assert read.is_ambiguous.all()


@pytest.mark.parametrize(
    ("declared", "text", "wall"),
    [
        ("%d/%m/%Y %H:%M", "1/2/2026 9:05", "2026-02-01 09:05"),
        ("%m/%d/%Y %I:%M %p", "1/2/2026 9:05 PM", "2026-01-02 21:05"),
        ("%d.%m.%y", "01.02.26", "2026-02-01"),
        ("%d.%m.%y", "01.02.69", "1969-02-01"),
        ("%Y%m%d%H", "2026020109", "2026-02-01 09:00"),
        ("%Y", "2026", "2026-01-01"),
        ("%Y-%d-%m", "2026-02-01", "2026-01-02"),
        ("%d%b%Y:%T", "01FEB2026:09:00:00", "2026-02-01 09:00"),
        ("%F %R", "2026-02-01 24:00", "2026-02-02"),
        ("%Y Q%q", "2026 Q3", "2026-07-01"),
        ("%G week %V", "2026 week 5", "2026-01-26"),
        ("%d. %B %Y, %H Uhr", "1. February 2026, 9 Uhr", "2026-02-01 09:00"),
        ("%A %d/%m/%Y", "Sunday 01/02/2026", "2026-02-01"),
        ("%Y-%m-%d %H:%M:%S%.f", "2026-02-01 09:00:00.25", "2026-02-01 09:00:00.25"),
        ("%Y-%m-%d %H:%M:%S.%f", "2026-02-01 09:00:00.250000", "2026-02-01 09:00:00.25"),
        ("100%% %Y-%j", "100% 2026-032", "2026-02-01"),
    ],
)
def test_a_declared_format_says_what_is_meant(declared: str, text: str, wall: str) -> None:
    assert told(text, declared) == datetime.fromisoformat(wall)


def test_a_declared_format_may_give_instants() -> None:
    nine = datetime(2026, 2, 1, 9, tzinfo=UTC)

    assert told("01/02/2026 10:00 +0100", "%d/%m/%Y %H:%M %z") == nine
    assert told("01/02/2026 09:00 UTC", "%d/%m/%Y %H:%M %Z") == nine
    assert told(str(int(nine.timestamp())), "%s") == nine


@pytest.mark.parametrize("text", ["2026-02-01", "01/02/2026 9:00", "31/02/2026", "1/2/26", ""])
def test_a_declared_format_reads_nothing_else(text: str) -> None:
    assert told(text, "%d/%m/%Y") is None


@pytest.mark.parametrize(
    ("declared", "rule"),
    [
        ("%H:%M", "contain a date"),
        ("%d/%m", "contain a date"),
        ("%Y-%d", "contain a date"),
        ("%d/%m/%Y %Q", "known directives"),
        ("%Y-%U", "known directives"),
        ("ends with %", "known directives"),
        ("%d/%m/%Y %d", "contain the day only once"),
        ("%d/%m/%Y %I:%M", "%I and %p together"),
        ("%d/%m/%Y %H:%M %p", "%I and %p together"),
        ("%d/%m/%Y %M", "contain the hour with the minute"),
        ("%Y-%j %d", "contain the month with the day"),
        ("%Y-%m" + " " * 100, "at most 100 characters"),
    ],
)
def test_a_format_that_gives_no_time_is_refused(declared: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        timestamp_formats.expression(declared)


_WRITTEN = (
    "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d %H:%M:%S", "%Y%m%dT%H%M%S",
    "%d-%b-%Y %H:%M:%S", "%B %d, %Y %I:%M:%S %p", "%a, %d %b %Y %H:%M:%S",
    "%G-W%V-%u %H:%M:%S", "%Y-%m-%d %I:%M:%S %p", "%d/%b/%Y:%H:%M:%S",
)  # fmt: skip


@given(
    at=st.datetimes(FIRST, LAST).map(lambda at: at.replace(microsecond=0)),
    written=st.sampled_from(_WRITTEN),
    zone=st.sampled_from(["", "Z", "+0100", " +01:00"]),
    bare=st.booleans(),
)
def test_every_time_is_read_back_in_every_form_it_may_be_written_in(
    at: datetime, written: str, zone: str, bare: bool
) -> None:
    text = at.strftime(written)
    if bare and written.startswith(("%Y/", "%Y-%m", "%Y.")):
        text = text.replace("-0", "-").replace("/0", "/").replace(".0", ".").replace(" 0", " ")
    shift = timedelta(hours=1 if "1" in zone else 0)

    found = told(text + zone)

    assert found == ((at - shift).replace(tzinfo=UTC) if zone else at)
    if not zone:
        assert told(text, written) == at or bare


@given(text=st.text(alphabet="0123456789-/:.,TWQZ+ JanUC", max_size=40))
def test_no_text_is_read_twice_or_raises(text: str) -> None:
    read = timestamp_text.read(pl.Series("at", [text.strip()]), None)

    read_as = [read.utc.item() is not None, read.wall.item() is not None, read.is_ambiguous.item()]
    assert sum(read_as) <= 1
