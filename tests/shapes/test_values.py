"""Values that are no numbers, too large or too small, never change, or hardly do."""

import math
import sys
from random import Random

import numpy as np
import pytest

from tests.jobs.small import HORIZON, LAST, hour
from tests.shapes.conftest import Check
from tests.shapes.places import NUMBERS, Place, Row, series, utc

DAYS = [float(place % 24) for place in range(100)]
MEDIAN = NUMBERS.index("q50")
NAN, INFINITY = math.nan, math.inf


def medians(place: Place, key: str) -> np.ndarray:
    return np.array([step[MEDIAN] for step in place.forecasts()[key]])


def has_no_nan(place: Place) -> bool:
    """SQLite keeps NaN as NULL."""
    return place.road == "pull" and place.engine.dialect.name == "sqlite"


@pytest.mark.fault(11)
@pytest.mark.parametrize("odd", [NAN, INFINITY, -INFINITY])
def test_values_that_are_not_finite_are_rejected_and_become_gaps(
    place: Place, check: Check, odd: float
) -> None:
    values = [odd if place % 10 == 0 else value for place, value in enumerate(DAYS)]

    account = place.bring(series("sick", values))

    silent = has_no_nan(place) and math.isnan(odd)
    assert account.rejected == ({} if silent else {"non_finite_value": 10})
    assert (account.new, account.lost) == (90, 0)
    report = place.forecast()
    check(place, report)
    assert report.panel["gaps"] == 9  # the first one lies before the series
    assert len(place.forecasts()["sick"]) == HORIZON


@pytest.mark.fault(11)
def test_text_in_a_column_of_numbers_is_read_or_rejected(place: Place, check: Check) -> None:
    place.kinds = place.kinds._replace(value="text")
    odd = ["12 kWh", "1,5", "n/a", "nan", "-inf", " 7.5 ", "1e3", ""]
    rows: list[Row] = [("words", hour(LAST - place), text) for place, text in enumerate(odd)]

    account = place.bring(rows)

    assert account.rejected == {"unreadable_value": 2, "non_finite_value": 2}
    assert (account.new, account.unchanged, account.lost) == (2, 2, 0)
    assert place.landed("words") == [(hour(LAST - 6), 1000.0), (hour(LAST - 5), 7.5)]
    check(place, place.forecast())


@pytest.mark.fault(11)
def test_huge_values_are_ingested_and_affect_no_other_series(place: Place, check: Check) -> None:
    huge = [
        1e300 * (-1) ** (number % 7) if number % 5 == 0 else float(number) for number in range(100)
    ]

    account = place.bring([*series("huge", huge), *series("largest", [sys.float_info.max] * 60)])

    assert (account.new, account.rejected, account.lost) == (160, {}, 0)
    assert [value for _, value in place.landed("huge")] == huge
    check(place, place.forecast())


@pytest.mark.fault(11)
def test_negative_zero_is_zero_and_contradicts_no_other(place: Place, check: Check) -> None:
    account = place.bring([*series("zero", [-0.0] * 80), *series("zero", [0.0] * 80)])

    assert (account.new, account.duplicates, account.conflicting) == (80, 80, 0)
    assert {math.copysign(1, value) for _, value in place.landed("zero")} == {1.0}
    check(place, place.forecast())


@pytest.mark.fault(11)
def test_subnormal_values_are_kept_exactly(place: Place, check: Check) -> None:
    tiny = [5e-324 * (1 + place % 24) for place in range(100)]

    account = place.bring(series("tiny", tiny))

    assert (account.new, account.lost) == (100, 0)
    assert [value for _, value in place.landed("tiny")] == tiny
    check(place, place.forecast())
    assert medians(place, "tiny") == pytest.approx(
        0.0, abs=1e-5
    )  # tolerance: any spread that is no spread


@pytest.mark.fault(13)
def test_instants_far_away_are_placeholders_and_never_ingested(place: Place, check: Check) -> None:
    far = [utc(1, 1, 2), utc(1899, 12, 30), utc(9999, 12, 30)]
    rows = [("far", instant, 1.0) for instant in far]

    account = place.bring([*rows, *series("far", DAYS)])

    assert account.rejected == {"timestamp_out_of_range": 3}
    assert (account.new, account.lost) == (100, 0)
    check(place, place.forecast())


def test_other_incomplete_rows_are_rejected(place: Place, check: Check) -> None:
    place.kinds = place.kinds._replace(timestamp="text")
    rows = [("little", None, 1.0), ("little", "", 1.0), ("little", "soon", 1.0)]

    account = place.bring([*rows, *series("little", DAYS)])

    assert account.rejected == {"missing_timestamp": 2, "unreadable_timestamp": 1}
    assert (account.new, account.lost) == (100, 0)
    check(place, place.forecast())


@pytest.mark.fault(13, 37)
def test_an_infinite_instant_fails_no_pull(source: Place, check: Check) -> None:
    rows = [("endless", "infinity", 1.0), ("endless", "-infinity", 1.0)]

    account = source.bring([*rows, *series("endless", DAYS)])

    # SQLite has no such instants: there it is a word.
    is_word = source.engine.dialect.name == "sqlite"
    assert account.rejected.get("unreadable_timestamp", 0) <= 2 * is_word
    assert (account.new, account.lost) == (100, 0)
    check(source, source.forecast())


@pytest.mark.fault(12)
@pytest.mark.parametrize("constant", [0.0, 1.0, -273.15, 5e8, 1e10])
def test_a_series_that_never_changes_is_forecast_as_it_is(
    place: Place, check: Check, constant: float
) -> None:
    account = place.bring(series("constant", [constant] * 100))

    assert (account.new, account.lost) == (100, 0)
    check(place, place.forecast())
    assert medians(place, "constant") == pytest.approx(
        constant,
        abs=1e-4 * max(1, abs(constant)),  # tolerance: of the smallest spread
    )


@pytest.mark.fault(12)
def test_a_series_without_any_value_and_one_of_a_single_value_are_skipped(
    place: Place, check: Check
) -> None:
    account = place.bring([*series("empty", [None] * 50), *series("single", [7.0])])

    assert (account.new, account.unchanged, account.lost) == (1, 50, 0)
    report = place.forecast()
    assert report.skipped_series["single"] == "too_short"
    check(place, report)
    assert {"empty", "single"}.isdisjoint(place.forecasts())


def test_intermittent_counts_stay_within_their_bound(place: Place, check: Check) -> None:
    random = Random(5)
    counts = [float(random.randint(1, 40)) if random.random() < 0.08 else 0.0 for _ in range(150)]

    place.declare(lower_bound=0.0)

    account = place.bring(series("bursts", counts))

    assert (account.new, account.lost) == (150, 0)
    check(place, place.forecast())
    assert np.min(place.forecasts()["bursts"]) >= 0


def test_a_counter_near_ten_billion_keeps_changes_of_one(place: Place, check: Check) -> None:
    small = [float(place % 5) for place in range(150)]

    account = place.bring([*series("small", small), *series("large", [1e10 + v for v in small])])

    assert (account.new, account.lost) == (300, 0)
    assert [value - 1e10 for _, value in place.landed("large")] == small
    check(place, place.forecast())
    said = place.forecasts()
    np.testing.assert_allclose(
        np.array(said["large"]) - 1e10,
        said["small"],
        rtol=0,
        atol=1e-3,  # tolerance: of a change of one
    )
    assert np.ptp(medians(place, "large")) > 0


def test_a_counter_that_starts_again_is_one_series(place: Place, check: Check) -> None:
    climbs = [1e10 + 1000.0 * number for number in range(100)]
    again = [1000.0 * number for number in range(50)]

    account = place.bring(series("reset", [*climbs, *again]))

    assert (account.new, account.lost) == (150, 0)
    check(place, place.forecast())
    assert len(place.forecasts()["reset"]) == HORIZON
