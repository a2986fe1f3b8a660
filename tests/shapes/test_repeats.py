"""Rows that come twice, in disorder, late, or otherwise than before."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from jobs.retrain import Challenger
from tests.jobs.small import LAST, hour
from tests.shapes.conftest import Check
from tests.shapes.places import Account, Place, series

DAYS = [float(place % 24) for place in range(100)]
FIRST = LAST - len(DAYS) + 1


@pytest.mark.fault(10)
def test_rows_that_repeat_one_another_are_one(place: Place, check: Check) -> None:
    account = place.bring(series("twice", DAYS) * 2)

    assert (account.rows, account.new, account.duplicates, account.lost) == (200, 100, 100, 0)
    report = place.forecast()
    check(place, report)
    assert report.panel["merged"] == 0
    assert place.landed("twice") == [row[1:] for row in series("twice", DAYS)]


def test_rows_that_contradict_one_another_become_the_mean_of_their_distinct_values(
    place: Place, check: Check
) -> None:
    contested = [("torn", hour(LAST), value) for value in (1.0, 4.0, 1.0, 1.0)]

    account = place.bring([*series("torn", DAYS[:-1], last=LAST - 1), *contested])

    assert (account.new, account.duplicates, account.conflicting, account.lost) == (100, 2, 1, 0)
    check(place, place.forecast())
    assert place.landed("torn")[-1] == (hour(LAST), 2.5)


@pytest.mark.fault(10)
def test_the_order_of_rows_does_not_matter(place: Place, check: Check) -> None:
    mixed = [*series("a", DAYS), *series("b", DAYS[::-1]), ("a", hour(LAST), 100.0)]
    Random(7).shuffle(mixed)

    account = place.bring(mixed)

    assert (account.new, account.conflicting, account.lost) == (200, 1, 0)
    check(place, place.forecast())
    ordered = [*DAYS[:-1], (DAYS[-1] + 100) / 2]
    assert place.landed("a") == [row[1:] for row in series("a", ordered)]
    assert place.landed("b") == [row[1:] for row in series("b", DAYS[::-1])]


@pytest.mark.fault(10)
def test_a_late_row_within_late_data_is_found_by_the_next_pull(source: Place, check: Check) -> None:
    on_time = [row for row in series("slow", DAYS) if row[1] != hour(LAST - 1)]
    source.bring(on_time)
    source.arrive([("slow", hour(LAST - 1), 5.0)])

    report = source.forecast()

    assert report.pull is not None
    assert (report.pull.late, report.pull.new) == (1, 1)
    assert (hour(LAST - 1), 5.0) in source.landed("slow")
    check(source, replace(report, pull=None))


@pytest.mark.fault(10)
def test_a_late_row_beyond_late_data_waits_for_the_whole_history_to_be_read(
    source: Place, check: Check
) -> None:
    later = hour(LAST - 10)
    source.bring([row for row in series("slow", DAYS) if row[1] != later])
    source.arrive([("slow", later, 5.0)])

    check(source, source.forecast())
    assert later not in [row[0] for row in source.landed("slow")]
    found = source.pull(whole=True)

    assert (found.late, found.new, found.corrected) == (1, 1, 0)
    assert (later, 5.0) in source.landed("slow")


def test_a_corrected_row_is_a_new_version_and_the_old_one_is_kept(
    place: Place, check: Check
) -> None:
    place.bring(series("moved", DAYS))
    before = place.landed("moved")
    known_at = place.now
    place.now += timedelta(minutes=1)

    account = correct(place, 77.0)

    assert (account.corrected, account.lost) == (1, 0)
    assert place.landed("moved")[-1] == (hour(LAST), 77.0)
    with reading(place.engine) as conn:
        then = observations.read(conn, place.name, series="moved", as_of=known_at)
    assert then.drop("series_id").rows() == before
    check(place, place.forecast())


def test_a_forecast_sees_what_was_corrected_since_the_one_before(
    source: Place, challenger: Challenger
) -> None:
    fresh = Place(engine=source.engine, road="pull")
    fresh.adopt(challenger)
    for place in (source, fresh):
        place.bring(series("moved", DAYS))
    source.forecast()
    for place in (source, fresh):
        place.alter(
            "UPDATE {} SET reading = ? WHERE station = 'moved' AND at = ?", 77.0, hour(LAST)
        )
        place.alter("UPDATE {} SET reading = NULL WHERE at = ?", hour(LAST - 1))
        place.arrive(
            [("moved", hour(LAST) + timedelta(minutes=5), 9.0), ("moved", hour(LAST + 1), 3.0)]
        )

    for place in (source, fresh):
        place.forecast(LAST + 1)

    assert source.forecasts() == fresh.forecasts()


def test_a_row_withdrawn_and_given_back_is_three_versions(place: Place, check: Check) -> None:
    place.bring(series("moved", DAYS))
    for value in (None, DAYS[-1]):
        place.now += timedelta(minutes=1)

        account = correct(place, value)

        assert (account.corrected, account.lost) == (1, 0)
        kept = [instant for instant, _ in place.landed("moved")]
        assert (hour(LAST) in kept) is (value is not None)
    check(place, place.forecast())
    assert place.landed("moved") == [row[1:] for row in series("moved", DAYS)]


def test_a_row_withdrawn_before_it_was_ever_stored_is_a_gap(place: Place, check: Check) -> None:
    account = place.bring([("never", hour(LAST), None), *series("whole", DAYS)])

    assert (account.new, account.unchanged, account.lost) == (100, 1, 0)
    check(place, place.forecast())
    assert place.landed("never") == []


def test_a_row_deleted_at_the_source_stays_what_it_was(source: Place, check: Check) -> None:
    source.bring(series("kept", DAYS))
    source.alter("DELETE FROM {} WHERE station = 'kept' AND at = ?", hour(LAST))

    account = source.bring([])

    assert (account.corrected, account.lost) == (0, 0)
    check(source, source.forecast())
    assert source.landed("kept")[-1] == (hour(LAST), DAYS[-1])


def test_rows_after_the_tick_wait_for_their_time(source: Place, check: Check) -> None:
    later = [("early", hour(LAST + ahead), 1.0) for ahead in (1, 2, 100)]

    account = source.bring([*series("early", DAYS), *later])

    assert (account.new, account.lost) == (100, 0)
    assert account.outside == account.rows - 100
    check(source, source.forecast())
    source.now = hour(LAST + 3)
    assert source.bring([]).new == 2


def correct(place: Place, value: float | None) -> Account:
    """Let the last row of `moved` have another value from now on."""
    if place.road == "ingest":
        return place.bring([("moved", hour(LAST), value)])
    place.alter("UPDATE {} SET reading = ? WHERE station = 'moved' AND at = ?", value, hour(LAST))
    return place.bring([])
