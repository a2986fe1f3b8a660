"""Numbers as timestamps: read where the column as a whole is certain, refused where it is not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.errors import DataError
from forecaster.ingestion.timestamps import Reading, read_instants
from forecaster.times import timestamp_numbers

DAY = datetime(2024, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = ("%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S")


def _read(numbers: Any, zone: str | None = "UTC", declared: str | None = None) -> Reading:
    return read_instants(pl.Series("at", numbers, strict=False), zone, declared)


@pytest.mark.parametrize("layout", ALL)
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.Decimal(20, 0), pl.Int128, pl.String])
@pytest.mark.parametrize("count", [1, 30])
def test_digits_of_dates_are_dates_on_the_clock_of_the_zone(
    layout: str, dtype: pl.DataType, count: int
) -> None:
    walls = [datetime(2024, 10, 1) + place * timedelta(days=1) for place in range(count)]  # noqa: DTZ001
    numbers = pl.Series("at", [int(f"{wall:{layout}}") for wall in walls]).cast(dtype)

    read = read_instants(numbers, "Asia/Tokyo")

    assert read.timestamps.to_list() == [(wall - 9 * HOUR).replace(tzinfo=UTC) for wall in walls]


def test_hour_24_is_the_midnight_that_ends_the_day() -> None:
    read = _read([2024100123, 2024100124, 2024100125])

    assert read.timestamps.to_list() == [DAY + 23 * HOUR, DAY + 24 * HOUR, None]


def test_placeholders_among_dates_are_out_of_range_and_other_digits_unreadable() -> None:
    dates = [20241001, 20241002, 20241003, 20241004]

    read = _read([*dates, 0, -1, 99991231, 99999999, 10101, 20241301, 20240230, None])

    assert read.timestamps.null_count() == 8
    assert read.is_out_of_range.to_list() == [False] * 4 + [True] * 5 + [False] * 3


def test_dates_as_numbers_need_a_declared_zone() -> None:
    with pytest.raises(DataError, match="need a time zone, found '2024-10-01"):
        _read([20241001], zone=None)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (range(8760), "such as 4380: .* is 1970-01-01"),
        ([2023, 2024, 2025], "as a year 2024 is 2024"),
        ([202409, 202410, 202411], "as YYYYMM 202410 is 2024-10"),
        ([202401, 202440, 202452], "such as 202440: .* is 1970-01-03"),
        ([45565, 45566, 45567], "as days of a spreadsheet 45566 is 2024-10-01"),
        ([45566.25, 45566.5, 45566.75], "as days of a spreadsheet 45566.5 is 2024-10-01"),
        ([2460584.5, 2460585.5], "as a Julian day 2460585.5 is 2024-10-02"),
        ([20_000, 20_001], "as days since 1970 20001 is 2024-10-05"),
        ([480_000], "as hours since 1970 480000 is 2024-10-04"),
        ([28_800_000], "as minutes since 1970 28800000 is 2024-10-04"),
        ([20241001, 20241301, 20241401], "20241301: .* is 1970-08-23"),
        ([0, 0], "such as 0: .* is 1970-01-01"),
        ([-5, -6], "1969-12-31"),
        ([0.5, 1.5, None], "1970-01-01"),
        (["2023", "2024", "2025"], "as a year 2024 is 2024"),
        (["45566", "45567", ""], "as days of a spreadsheet"),
    ],
)
def test_other_small_numbers_are_refused_with_what_they_may_mean(numbers: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        _read([*numbers])

    assert "as seconds since 1970 it is 19" in caught.value.message
    assert "timestamp_format" in (caught.value.hint or "")


def test_digits_beside_timestamps_in_text_are_unreadable_where_they_are_not_certain() -> None:
    read = _read(["2024-10-01", "2024-10-02T00:00Z", "2024", "5"])

    assert read.timestamps.null_count() == 2
    assert _read(["2024-10-01", "20241002", "x"]).timestamps.null_count() == 1
    assert _read(["x", "y", "5", "n/a"]).timestamps.null_count() == 4


@pytest.mark.parametrize(
    ("declared", "number", "instant"),
    [
        ("%Y%m", 202410, DAY),
        ("%Y", 2024, datetime(2024, 1, 1, tzinfo=UTC)),
        ("%s", 86_400, datetime(1970, 1, 2, tzinfo=UTC)),
    ],
)
def test_a_declared_format_reads_numbers_of_every_type(
    declared: str, number: int, instant: datetime
) -> None:
    for dtype in (pl.Int64, pl.Float64, pl.Decimal(10, 2)):
        read = read_instants(pl.Series("at", [number]).cast(dtype), "UTC", declared)

        assert read.timestamps.to_list() == [instant]
    assert read_instants(pl.Series([str(number)]), "UTC", declared).timestamps[0] == instant


@pytest.mark.parametrize("per_second", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("start", [1958, 1970, 1995])
def test_years_of_instants_are_read_in_one_unit(per_second: int, start: int) -> None:
    first = int(datetime(start, 1, 1, tzinfo=UTC).timestamp())
    seconds = pl.Series(range(first, first + 30 * 365 * 86_400, 25 * 3_600))

    read = read_instants(seconds * per_second, None)

    assert (read.timestamps.to_physical() == seconds * 1_000_000).all()


def test_instants_of_several_units_are_told_apart_by_magnitude() -> None:
    read = _read([1_700_000_000 * unit for unit in (1, 1_000, 1_000_000, 1_000_000_000)])

    assert read.timestamps.n_unique() == 1


def test_dates_among_seconds_are_rejected_and_not_days_of_1970() -> None:
    seconds = [1_727_740_800 + 86_400 * day for day in range(6)]

    read = _read([*seconds, 20241007, 20241008])

    assert read.is_ambiguous.to_list() == [False] * 6 + [True] * 2
    assert read.timestamps.null_count() == 2


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_column_without_numbers_says_nothing(value: float | None) -> None:
    assert (
        read_instants(pl.Series([value] * 3, dtype=pl.Float64), None).timestamps.null_count() == 3
    )


def test_samples_of_any_type_are_looked_at() -> None:
    assert timestamp_numbers.is_certain([Decimal(20241001), 20241002.0, 0])
    assert not timestamp_numbers.is_certain([Decimal("45566.5"), 45567])
    assert timestamp_numbers.may_be_instants([0, 1_700_000_000])
    assert not timestamp_numbers.may_be_instants([0, 8759])


@given(
    st.lists(st.integers(-(10**8) + 1, 10**8 - 1) | st.integers(10**9, 2 * 10**9), min_size=1),
    st.sampled_from([pl.Int64, pl.Float64]),
)
def test_every_number_is_read_or_the_column_refused(
    numbers: list[int], dtype: type[pl.DataType]
) -> None:
    column = pl.Series("at", numbers, dtype=dtype)
    try:
        read = read_instants(column, "UTC")
    except DataError:
        return
    for number, instant in zip(numbers, read.timestamps, strict=True):
        meant = {f"{instant:{layout}}" for layout in ALL} if instant else set()
        assert instant is None or str(number) in meant or instant.timestamp() == number
