"""BacktestWindows: which windows a backtest has, and what is known before them."""

from datetime import datetime

import polars as pl
import pytest

from forecaster.data.grid import Grid
from forecaster.errors import DataError, InsufficientHistory
from forecaster.evaluation.cutoffs import (
    NO_ROOM,
    NOT_TESTED,
    NOT_TRAINED,
    SHORT_TEST,
    BacktestWindows,
    Rolling,
    at_series_ends,
    at_the_end,
    of_split,
)
from forecaster.times.durations import Step
from tests.data.observed import HOUR, MONDAY, observed

GRID = Grid(step=Step.parse("1h"), anchor=0, timezone="UTC")
START = GRID.index_at(MONDAY)


def hours(count: int, *, after: int = 0, name: str = "a") -> pl.DataFrame:
    return observed({name: [1.0] * count}, first=MONDAY + after * HOUR)


def ends(found: BacktestWindows, name: str = "a") -> list[int]:
    rows = found.windows.filter(pl.col("series_id") == name).sort("turn")
    assert rows["turn"].to_list() == list(range(len(rows)))
    return [end - START for end in rows["end"].to_list()]


def rolling(horizon: int, stride: int | None = None, windows: int | None = None) -> Rolling:
    return Rolling(prediction_length=horizon, stride=stride or horizon, windows=windows)


def last(rows: pl.DataFrame) -> datetime:
    found = rows["timestamp"].max()
    assert isinstance(found, datetime)
    return found


@pytest.mark.parametrize(
    ("length", "wanted", "expected"),
    [
        (100, rolling(10, windows=3), [69, 79, 89]),
        (100, rolling(10, 2, 3), [85, 87, 89]),
        (100, rolling(10), [79, 89]),
        (1000, rolling(10), [919, 929, 939, 949, 959, 969, 979, 989]),
        (30, rolling(10), [19]),
    ],
    ids=["as many as asked", "by stride", "a quarter of the history", "eight", "at least one"],
)
def test_windows_end_with_the_newest_row(length: int, wanted: Rolling, expected: list[int]) -> None:
    found = at_the_end(hours(length), GRID, wanted)

    assert ends(found) == expected
    assert found.turns == len(expected)


def test_all_series_share_their_cutoffs_where_nothing_is_split() -> None:
    rows = pl.concat([hours(100), hours(50, name="b")])

    found = at_the_end(rows, GRID, rolling(10))

    assert ends(found, "a") == ends(found, "b")


def test_more_windows_than_the_history_holds_are_an_error_with_what_is_needed() -> None:
    with pytest.raises(InsufficientHistory, match="11 windows of 10 steps need more than 110"):
        at_the_end(hours(100), GRID, rolling(10, windows=11))


def test_before_a_turn_everything_up_to_its_cutoff_is_known_and_nothing_later() -> None:
    rows = hours(100)
    found = at_the_end(rows, GRID, rolling(10, windows=2))

    parts = [found.split_known(rows, turn) for turn in (None, 0, 1)]

    assert [last(known) for known, _ in parts] == [MONDAY + each * HOUR for each in (79, 79, 89)]
    assert all(len(known) + len(later) == 100 for known, later in parts)


def test_a_split_gives_each_series_cutoffs_from_its_own_last_train_row_on() -> None:
    train = pl.concat([hours(50), hours(30, name="b")])
    test = pl.concat([hours(20, after=50), hours(35, after=30, name="b")])

    found = of_split(train, test, GRID, rolling(10))

    assert (ends(found, "a"), ends(found, "b")) == ([49, 59], [29, 39, 49])
    known, _ = found.split_known(pl.concat([train, test]), None)
    assert known.sort("series_id", "timestamp").equals(train)


def test_the_newest_windows_of_a_split_are_taken_and_the_training_stays() -> None:
    train, test = hours(50), hours(40, after=50)

    found = of_split(train, test, GRID, rolling(10, windows=2))

    assert ends(found) == [69, 79]
    assert last(found.split_known(pl.concat([train, test]), None)[0]) == MONDAY + 49 * HOUR
    assert last(found.split_known(pl.concat([train, test]), 0)[0]) == MONDAY + 69 * HOUR


def test_a_series_with_fewer_windows_stays_known_to_its_last_one() -> None:
    train = pl.concat([hours(50), hours(50, name="b")])
    test = pl.concat([hours(30, after=50), hours(10, after=50, name="b")])
    found = of_split(train, test, GRID, rolling(10))

    known, _ = found.split_known(pl.concat([train, test]), 2)

    assert last(known.filter(pl.col("series_id") == "b")) == MONDAY + 49 * HOUR


def test_series_that_a_split_gives_no_window_are_named_with_the_reason() -> None:
    train = pl.concat([hours(50), hours(50, name="b"), hours(50, name="c")])
    test = pl.concat([hours(20, after=50), hours(5, after=50, name="c"), hours(9, name="d")])

    found = of_split(train, test, GRID, rolling(10))

    assert found.left_out == {"b": NOT_TESTED, "c": SHORT_TEST, "d": NOT_TRAINED}


def test_a_horizon_longer_than_every_test_part_is_an_error() -> None:
    with pytest.raises(DataError, match="at most 20 steps, the longest test part, found 21 steps"):
        of_split(hours(50), hours(20, after=50), GRID, rolling(21))


def test_a_split_without_a_series_in_both_parts_is_an_error() -> None:
    with pytest.raises(DataError, match="no series has both train and test rows"):
        of_split(hours(50), hours(20, after=50, name="b"), GRID, rolling(10))


def test_test_rows_before_train_rows_are_an_error_that_shows_one() -> None:
    with pytest.raises(DataError, match="1 of 1 series, such as a: train"):
        of_split(hours(50), hours(20, after=49), GRID, rolling(10))


def test_windows_at_the_ends_of_series_are_their_own() -> None:
    rows = pl.concat([hours(100), hours(50, name="b"), hours(60, after=40, name="c")])

    found = at_series_ends(rows, GRID, rolling(10, windows=2))

    assert {name: ends(found, name) for name in "abc"} == {
        "a": [79, 89], "b": [29, 39], "c": [79, 89],
    }  # fmt: skip
    known, later = found.split_known(rows, None)
    assert last(known.filter(pl.col("series_id") == "b")) == MONDAY + 29 * HOUR
    assert len(later) == 3 * 20


def test_a_short_series_has_fewer_windows_at_its_end_and_one_without_room_has_none() -> None:
    rows = pl.concat([hours(100), hours(25, name="b"), hours(10, name="c")])

    found = at_series_ends(rows, GRID, rolling(10, windows=3))

    assert (ends(found, "a"), ends(found, "b")) == ([69, 79, 89], [4, 14])
    assert found.left_out == {"c": NO_ROOM}
    known, _ = found.split_known(rows, None)
    assert len(known.filter(pl.col("series_id") == "c")) == 10


def test_a_quarter_of_each_series_is_tested_at_its_end_where_nobody_says_how_much() -> None:
    rows = pl.concat([hours(1000), hours(100, name="b"), hours(30, name="c")])

    found = at_series_ends(rows, GRID, rolling(10))

    assert [len(ends(found, name)) for name in "abc"] == [8, 2, 1]


def test_series_without_room_for_any_window_are_an_error() -> None:
    with pytest.raises(InsufficientHistory, match="needs a series of more than 10 steps"):
        at_series_ends(hours(10), GRID, rolling(10))
