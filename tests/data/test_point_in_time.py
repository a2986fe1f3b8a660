"""Knowledge: which version of a value was known at which tick."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.point_in_time import point_in_time
from forecaster.schemas import VERSIONS
from tests.data.observed import HOUR, MONDAY

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
NONE = timedelta(0)

Version = tuple[int, datetime, datetime, float | None]


def at(hours: float) -> datetime:
    return MONDAY + hours * HOUR


def version(
    stamp: float, recorded: float, value: float | None = 1.0, *, series: int = 1
) -> Version:
    """One version; instants in hours since Monday."""
    return series, at(stamp), at(recorded), value


def frame(*versions: Version) -> pl.DataFrame:
    rows = pl.DataFrame(versions, schema=VERSIONS, orient="row")
    return rows.sort("series_id", "timestamp", "recorded_at")


def first_known(
    *versions: Version,
    ticks: Sequence[float] = range(20),
    ran: Mapping[float, float] | None = None,
    delay: timedelta = NONE,
    late_data: timedelta = NONE,
) -> list[float | None]:
    """The first tick that knew each version, in hours since Monday; None for none of them."""
    axis = [*ticks]
    marks = {at(tick): at(mark) for tick, mark in (ran or {}).items()}
    known = point_in_time([*map(at, axis)], marks, delay=delay, late_data=late_data)
    places = known.first_known(frame(*versions)).place
    return [axis[place] if place < len(axis) else None for place in places]


def test_a_tick_that_ran_knew_what_was_landed_up_to_its_mark() -> None:
    landed_in_its_own_pull, landed_just_after = version(9, 10.01), version(9, 10.02, series=2)
    found = first_known(
        landed_in_its_own_pull, landed_just_after, ran={10: 10.01, 11: 11.01}, late_data=5 * HOUR
    )
    assert found == [10, 11]


def test_a_tick_that_did_not_run_knew_what_was_recorded_by_then() -> None:
    assert first_known(version(9, 10), version(9, 10.01, series=2), late_data=5 * HOUR) == [10, 11]


def test_what_was_landed_after_the_fact_counts_as_known_when_late_data_was_over() -> None:
    from_a_file = version(3, 500)
    assert first_known(from_a_file, late_data=2 * HOUR) == [5]


def test_a_later_tick_that_looked_and_found_nothing_tells_that_nothing_was_there() -> None:
    after_an_outage = version(3, 15.5)
    ran = {float(tick): tick + 0.01 for tick in (12, 16)}
    found = first_known(after_an_outage, ran=ran, late_data=2 * HOUR)
    assert found == [13]  # that of 12 looked, and it was not there


def test_a_tick_that_ran_knows_nothing_after_the_fact() -> None:
    everything_ran = {float(tick): tick + 0.01 for tick in range(20)}
    assert first_known(version(3, 500), ran=everything_ran) == [None]


def test_a_correction_is_known_from_when_it_was_recorded_and_never_before() -> None:
    first, corrected, taken_back = version(3, 500), version(3, 501, 2.0), version(3, 502, None)
    found = first_known(first, corrected, taken_back, ticks=[*range(10), 501, 502, 503])
    assert found == [3, 501, 502]


def test_the_first_version_of_each_instant_and_series_is_none_of_another() -> None:
    rows = [version(3, 500), version(4, 501), version(3, 502, series=2)]
    assert first_known(*rows) == [3, 4, 3]


@pytest.mark.parametrize("late_data", [NONE, HOUR, 3 * HOUR])
def test_nothing_is_known_before_the_delay_is_over(late_data: timedelta) -> None:
    found = first_known(
        version(3, 3), version(3, 500, series=2), delay=2 * HOUR, late_data=late_data
    )
    assert found == [5, max(5, 3 + late_data / HOUR)]


def test_a_row_of_the_future_waits_for_its_time() -> None:
    assert first_known(version(7, 1)) == [7]
    assert first_known(version(7, 1), ran={2: 2.01}, delay=HOUR) == [8]


def test_a_tick_that_ran_out_of_turn_knew_no_more_than_those_after_it() -> None:
    ran_again_much_later = {5.0: 30.0, 6: 6.01, 7: 7.01}
    assert first_known(version(4, 6.5), ran=ran_again_much_later, late_data=9 * HOUR) == [7]


def test_ticks_that_ran_late_one_after_the_other_knew_what_was_there_by_then() -> None:
    caught_up = {5.0: 9.01, 6: 9.02, 7: 9.03, 8: 9.04, 9: 9.05}
    rows = [version(4, 9), version(4, 9.025, 2.0), version(4, 9.04, series=2)]
    assert first_known(*rows, ran=caught_up, late_data=9 * HOUR) == [5, 7, 8]


def test_ticks_that_ran_need_not_be_among_those_that_are_asked() -> None:
    assert first_known(version(3, 15.5), ticks=[12, 14, 18], ran={13: 13.01}) == [14]
    assert first_known(version(3, 15.5), ticks=[11, 12], ran={13: 13.01}) == [None]


def test_what_counts_as_known_without_anybody_having_looked_is_told() -> None:
    ticks = [at(hours) for hours in range(10)]
    known = point_in_time(ticks, {}, delay=2 * HOUR, late_data=HOUR)
    rows = frame(
        version(1, 1.5), version(1, 4, series=2), version(1, 500, series=3), version(50, 99)
    )
    assert known.first_known(rows).is_assumed.tolist() == [False, False, True, True]


def test_no_versions_are_known_to_nobody() -> None:
    assert first_known() == []
    assert first_known(version(1, 1), ticks=[]) == [None]


instants = st.integers(0, 40).map(lambda quarter: quarter / 4)
histories = st.lists(
    st.builds(
        version,
        instants,
        st.integers(0, 100).map(lambda quarter: quarter / 4),
        st.none() | st.just(1.0),
        series=st.integers(1, 3),
    ),
    max_size=12,
    unique_by=lambda row: row[:3],
)


@st.composite
def runs(draw: st.DrawFn) -> dict[float, float]:
    """Ticks and marks, in turn or not."""
    ticks = draw(st.lists(instants, max_size=12, unique=True))
    return {tick: tick + draw(st.integers(-8, 30)) / 8 for tick in ticks}


def plainly(
    row: Version, is_first: bool, tick: datetime, own: Mapping[datetime, datetime],
    ran: Mapping[datetime, datetime], waits: tuple[timedelta, timedelta],
) -> bool:  # fmt: skip
    """Whether a tick knew a version, by the rules one after the other."""
    (_, stamp, recorded, _), (delay, late_data) = row, waits
    if stamp > tick - delay:
        return False
    if recorded <= min(mark for each, mark in own.items() if each >= tick):
        return True
    marks = [mark for each, mark in ran.items() if each >= tick]
    is_unseen = not marks or recorded <= min(marks)
    return is_first and stamp + late_data <= tick and is_unseen


@given(
    history=histories,
    ran=runs(),
    ticks=st.lists(instants, max_size=15, unique=True).map(sorted),
    delay=st.sampled_from([NONE, 15 * MINUTE, 2 * HOUR]),
    late_data=st.sampled_from([NONE, HOUR, 3 * HOUR]),
)
def test_what_is_known_at_a_tick_is_what_the_rules_say_and_stays_known(
    history: list[Version],
    ran: dict[float, float],
    ticks: list[float],
    delay: timedelta,
    late_data: timedelta,
) -> None:
    rows, axis = frame(*history), [*map(at, ticks)]
    marks = {at(tick): at(mark) for tick, mark in ran.items()}
    known = point_in_time(axis, marks, delay=delay, late_data=late_data).first_known(rows)
    own = {**{tick: tick for tick in axis}, **marks}
    seen = set()
    for row, place in zip(rows.iter_rows(), known.place, strict=True):
        is_first = row[:2] not in seen
        seen.add(row[:2])
        plain = [plainly(row, is_first, tick, own, marks, (delay, late_data)) for tick in axis]
        assert plain == [number >= place for number in range(len(axis))]
