"""Rows that are not one an hour: gaps, other phases, other steps, no step at all."""

import math
from datetime import datetime, timedelta
from random import Random

import pytest

from forecaster.data.panel import build
from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from tests.jobs.small import HORIZON, HOUR, LAST, hour
from tests.shapes.conftest import Check
from tests.shapes.places import HEALTHY, Place, Row

MINUTE = timedelta(minutes=1)
YEAR = timedelta(days=365)


def wave(instant: datetime) -> float:
    return 50 + 10 * math.sin(math.tau * (instant - hour(0)) / (24 * HOUR))


def waves(key: str, instants: list[datetime]) -> list[Row]:
    return [(key, instant, wave(instant)) for instant in instants]


def hours(first: int, last: int, *, shift: timedelta = timedelta(0)) -> list[datetime]:
    return [hour(number) + shift for number in range(first, last + 1)]


def cells(place: Place, key: str) -> list[float]:
    """What the model sees of a series up to LAST: NaN for gaps."""
    champion = place.world.champions.serving(place.engine, place.world.dataset, now=hour(LAST))
    grid = champion.model.spec.grid()
    with reading(place.engine) as conn:
        known = observations.read(conn, place.name, series=key, until=hour(LAST))
    panel = build(known, grid, end=grid.index_at(hour(LAST)))
    values = panel.offset[:, None] + panel.scale[:, None] * panel.deviations
    shown: list[float] = values[0].tolist()
    return shown


@pytest.mark.fault(13)
@pytest.mark.parametrize("missing", [1, 2, 24, 100])
def test_gaps_are_bridged_and_counted(place: Place, check: Check, missing: int) -> None:
    kept = [*hours(200, 280), *hours(281 + missing, LAST)]

    account = place.bring(waves("holes", kept))

    assert (account.new, account.lost) == (len(kept), 0)
    report = place.forecast()
    check(place, report)
    assert report.panel["gaps"] == missing
    assert len(place.forecasts()["holes"]) == HORIZON


@pytest.mark.fault(12)
def test_a_gap_of_years_is_ingested_and_does_not_widen_the_context(
    place: Place, check: Check
) -> None:
    place.declare(history=5 * YEAR)
    old = [instant - 4 * YEAR for instant in hours(0, 50)]

    account = place.bring(waves("gone", [*old, *hours(250, LAST)]))

    assert (account.new, account.lost) == (51 + LAST - 249, 0)
    report = place.forecast()
    check(place, report)
    assert report.panel["gaps"] == 0
    assert len(place.forecasts()["gone"]) == HORIZON


@pytest.mark.fault(13)
def test_instants_between_two_of_the_grid_are_floored_and_counted(
    place: Place, check: Check
) -> None:
    random = Random(3)
    jittered = [
        instant + random.uniform(1, 3599) * timedelta(seconds=1) for instant in hours(250, LAST - 1)
    ]

    account = place.bring(waves("jitter", jittered))

    assert (account.new, account.lost) == (len(jittered), 0)
    report = place.forecast()
    check(place, report)
    assert (report.panel["off_grid"], report.panel["merged"]) == (len(jittered), 0)
    assert cells(place, "jitter")[:-1] == pytest.approx([wave(at) for at in jittered])


@pytest.mark.fault(13)
def test_jitter_around_the_grid_may_merge_and_part_cells_and_both_are_counted(
    place: Place, check: Check
) -> None:
    early = [at - MINUTE if at.hour % 2 else at + MINUTE for at in hours(251, LAST - 1)]

    account = place.bring(waves("nervous", early))

    assert (account.new, account.lost) == (len(early), 0)
    report = place.forecast()
    check(place, report)
    pairs = len(early) // 2
    assert report.panel["off_grid"] == len(early)
    assert abs(report.panel["merged"] - pairs) <= 1
    assert abs(report.panel["gaps"] - pairs) <= 1
    assert "nervous" in place.forecasts()


@pytest.mark.fault(13)
def test_series_of_several_phases_share_a_grid(place: Place, check: Check) -> None:
    phases = (0, 2, 27, 59)
    found = [
        row for m in phases for row in waves(f"at {m:02}", hours(250, LAST - 1, shift=m * MINUTE))
    ]

    account = place.bring(found)

    assert (account.new, account.lost) == (len(found), 0)
    report = place.forecast()
    check(place, report)
    assert report.panel["off_grid"] == 3 * len(found) // 4
    assert {f"at {m:02}" for m in phases} < set(place.forecasts())


@pytest.mark.fault(13)
def test_a_series_without_any_step_is_averaged_by_the_hour(place: Place, check: Check) -> None:
    random = Random(1)
    at, instants = hour(200), []
    while (at := at + random.expovariate(1.5) * HOUR) < hour(LAST):
        instants.append(at.replace(microsecond=at.microsecond))

    account = place.bring(waves("irregular", instants))

    assert (account.new, account.lost) == (len(instants), 0)
    report = place.forecast()
    check(place, report)
    assert report.panel["merged"] > 0
    assert report.panel["gaps"] > 0
    assert len(place.forecasts()["irregular"]) == HORIZON


@pytest.mark.fault(13)
@pytest.mark.parametrize("finer_first", [True, False])
def test_a_step_that_changes_is_averaged_where_it_is_finer(
    place: Place, check: Check, finer_first: bool
) -> None:
    quarters = [timedelta(minutes=15) * number for number in range(4)]
    middle = 330
    fine = hours(250, middle - 1) if finer_first else hours(middle, LAST - 1)
    coarse = hours(middle, LAST) if finer_first else hours(250, middle - 1)
    rows = waves("changing", [at + quarter for at in fine for quarter in quarters])

    account = place.bring([*rows, *waves("changing", coarse)])

    assert account.lost == 0
    report = place.forecast()
    check(place, report)
    assert (report.panel["merged"], report.panel["gaps"]) == (3 * len(fine), 0)
    first = fine[0]
    means = sum(wave(first + quarter) for quarter in quarters) / 4
    assert cells(place, "changing")[(first - hour(250)) // HOUR] == pytest.approx(means)


@pytest.mark.fault(12)
def test_a_series_that_appears_is_too_short_until_it_is_not(place: Place, check: Check) -> None:
    place.bring(waves("new", hours(LAST - 1, LAST)))

    report = place.forecast()
    assert report.skipped_series["new"] == "too_short"
    check(place, report)


def test_a_series_that_falls_silent_is_stale_and_comes_back(place: Place, check: Check) -> None:
    place.bring(waves("silent", hours(200, LAST - 60)))

    report = place.forecast()

    assert report.skipped_series["silent"] == "stale"
    check(place, report)
    later = hour(LAST + 1)
    place.now = later + timedelta(seconds=1)
    place.bring([*waves("silent", [hour(LAST), later]), *waves(HEALTHY, [later])])
    assert "silent" not in place.forecast(LAST + 1).skipped_series
    assert len(place.forecasts()["silent"]) == HORIZON


def test_a_series_that_never_had_a_row_in_the_context_is_not_in_the_way(
    place: Place, check: Check
) -> None:
    account = place.bring(waves("ancient", [at - 300 * 24 * HOUR for at in hours(0, 48)]))

    assert (account.new, account.lost) == (49, 0)
    report = place.forecast()
    check(place, report)
    assert "ancient" not in place.forecasts()
