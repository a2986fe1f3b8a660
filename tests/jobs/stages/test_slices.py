"""A long stretch is cut into slices that fit into memory; every instant is in exactly one."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.times.durations import Step
from jobs.stages import slices as module
from jobs.stages.slices import slices

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STEP = Step.parse("1h")


class Source:
    """Rows at some instants, and which reads there were."""

    def __init__(self, days: list[int]) -> None:
        instants = [START + day * DAY for day in sorted(days)]
        self.rows = pl.Series(instants, dtype=pl.Datetime("us", "UTC"))
        self.reads: list[tuple[datetime, datetime, int | None]] = []

    def read(self, since: datetime, until: datetime, limit: int | None) -> pl.DataFrame:
        self.reads.append((since, until, limit))
        found = self.rows.filter(self.rows.is_between(since, until)).to_frame("timestamp")
        return found if limit is None else found.head(limit)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WANTED_ROWS", 20)
    monkeypatch.setattr(module, "MOST_ROWS", 30)


def test_what_fits_is_one_read() -> None:
    source = Source(list(range(29)))

    [found] = slices(source.read, START, START + 365 * DAY, STEP, None)

    assert found.rows.height == 29
    assert len(source.reads) == 1


@given(st.lists(st.integers(0, 1000), max_size=300))
def test_every_row_is_in_exactly_one_slice(days: list[int]) -> None:
    source = Source(days)

    found = list(slices(source.read, START, START + 1000 * DAY, STEP, None))

    rows = pl.concat([each.rows for each in found])["timestamp"].to_list()
    assert rows == source.rows.to_list()
    assert all(each.rows["timestamp"].is_between(each.since, each.until).all() for each in found)
    assert (found[0].since, found[-1].until) == (START, START + 1000 * DAY)


def test_no_slice_has_too_many_rows_unless_it_is_as_short_as_can_be() -> None:
    source = Source([*range(0, 700), *([700] * 100), *range(701, 1000)])

    found = list(slices(source.read, START, START + 1000 * DAY, STEP, None))

    large = [each for each in found if each.rows.height >= 30]
    assert [each.rows.height for each in large] in ([100], [101])
    assert all(each.until - each.since <= DAY for each in large)
    assert len(source.reads) < 200


def test_an_empty_stretch_of_no_length_is_one_slice() -> None:
    assert len(list(slices(Source([]).read, START, START, STEP, None))) == 1


@pytest.mark.parametrize(
    ("step", "zone"), [("7h", None), ("15m", "UTC"), ("1d", "America/New_York"), ("1mo", "UTC")]
)
def test_slices_begin_where_steps_and_days_begin(step: str, zone: str | None) -> None:
    source = Source([day for day in range(1000) for _ in range(9)])
    uneven = timedelta(hours=3, microseconds=5)
    until = START + 1000 * DAY - uneven

    found = list(slices(source.read, START + uneven, until, Step.parse(step), zone))

    assert len(found) > 100
    assert (found[0].since, found[-1].until) == (START + uneven, until)
    for before, after in pairwise(found):
        assert after.since - before.until == timedelta(microseconds=1)
        if step == "7h":
            assert (after.since - EPOCH) % timedelta(hours=7) == timedelta(0)
        elif step == "15m":
            assert after.since.minute % 15 == after.since.second == after.since.microsecond == 0
        else:
            assert after.since.astimezone(ZoneInfo(zone or "UTC")).time() == time(0)
