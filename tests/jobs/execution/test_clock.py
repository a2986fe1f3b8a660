"""The clock of the service, and who wakes up how late."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.execution.clock import DOUBT, SteadyClock, delay
from tests.jobs.small import DATASET, HOUR

DAY = 24 * HOUR
MORNING = datetime(2026, 11, 20, 9, tzinfo=UTC)


class Machine:
    """Its clocks: one that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.now, self.up = MORNING, 1000.0
        self.clock = SteadyClock(lambda: self.now, lambda: self.up)

    def after(self, seconds: float, *, jump: timedelta = timedelta(0)) -> datetime:
        self.up += seconds
        self.now += timedelta(seconds=seconds) + jump
        return self.clock()


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_clock_that_goes_steadily_is_believed(machine: Machine) -> None:
    assert [machine.after(1) for _ in range(3)] == [
        MORNING + timedelta(seconds=seconds) for seconds in (1, 2, 3)
    ]


@pytest.mark.fault(8)
def test_a_day_ahead_is_not_believed_and_forgotten_on_return(machine: Machine) -> None:
    ahead = machine.after(1, jump=DAY)
    later = machine.after(60)
    back = machine.after(60, jump=-DAY)

    assert [ahead, later, back] == [
        MORNING + timedelta(seconds=seconds) for seconds in (1, 61, 121)
    ]


@pytest.mark.fault(8)
def test_a_day_ahead_is_believed_once_it_has_lasted(machine: Machine) -> None:
    machine.after(1, jump=DAY)
    machine.after(DOUBT - 1)

    assert machine.clock() == MORNING + timedelta(seconds=DOUBT)
    assert machine.after(2) == MORNING + DAY + timedelta(seconds=DOUBT + 2)


@pytest.mark.fault(8)
def test_an_hour_back_is_believed_at_once_and_so_is_the_return(machine: Machine) -> None:
    assert machine.after(1, jump=-HOUR) == MORNING - HOUR + timedelta(seconds=1)
    assert machine.after(1, jump=HOUR) == MORNING + timedelta(seconds=2)


@pytest.mark.fault(8)
def test_a_clock_that_stood_still_is_believed_when_it_goes_on(machine: Machine) -> None:
    frozen = [machine.after(600, jump=timedelta(seconds=-600)) for _ in range(3)]

    assert frozen == [MORNING] * 3
    assert machine.after(1, jump=timedelta(seconds=1800)) == MORNING + timedelta(seconds=1801)


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(-100_000, 100_000)), max_size=20))
def test_no_clock_shows_more_than_the_machine_did(steps: list[tuple[float, int]]) -> None:
    machine = Machine()
    for seconds, jump in steps:
        shown = machine.after(seconds, jump=timedelta(seconds=jump))

        assert shown <= machine.now
        assert abs(machine.clock() - shown) <= timedelta(microseconds=1)


def test_each_lane_of_each_dataset_has_a_share_of_the_jitter_that_stays() -> None:
    jittery = replace(DATASET, jitter=HOUR)
    shares = [delay("forecast", replace(jittery, name=f"bikes{n}")) for n in range(1000)]

    assert delay("forecast", DATASET) == timedelta(0)
    assert delay("forecast", jittery) == delay("forecast", jittery) != delay("prune", jittery)
    assert all(timedelta(0) <= share < HOUR for share in shares)
    assert sum(share < HOUR / 4 for share in shares) == pytest.approx(
        250, abs=50
    )  # tolerance: a quarter of 1000 random shares
