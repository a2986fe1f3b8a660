"""The alarm clock: it rings on the grid of time, at once at start, and after a clock jump."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from forecaster.schedules import Every
from jobs.scheduler import Alarm, Scheduler

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


class Bell:
    """Counts how often it rang; may be made to take its time."""

    def __init__(self) -> None:
        self.rings = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def ring(self) -> None:
        self.rings += 1
        self.go_on.wait(10)

    def rang(self, times: int, within: float = 5.0) -> bool:
        until = time.monotonic() + within
        while self.rings < times and time.monotonic() < until:
            time.sleep(0.01)
        return self.rings >= times


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def scheduler(bell: Bell) -> Iterator[Scheduler]:
    alarm = Alarm(name="bell", lane="forecast", schedule=Every(DAY), action=bell.ring)
    made = Scheduler([alarm], threads={"forecast": 1}, clock=now)
    yield made
    bell.go_on.set()
    made.stop()


def test_every_alarm_rings_at_start(scheduler: Scheduler, bell: Bell) -> None:
    scheduler.start()

    assert bell.rang(1)


def test_an_alarm_can_be_rung_by_hand(scheduler: Scheduler, bell: Bell) -> None:
    scheduler.start()
    assert bell.rang(1)

    scheduler.ring("bell")

    assert bell.rang(2)


@pytest.mark.parametrize("jump", [-3600, 86_400])
def test_a_clock_that_jumps_rings_everything(
    scheduler: Scheduler, bell: Bell, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    scheduler.start()
    assert bell.rang(1)
    scheduler.watch()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)

    scheduler.watch()

    assert bell.rang(2)


def test_a_clock_that_keeps_time_rings_nothing_early(scheduler: Scheduler, bell: Bell) -> None:
    scheduler.start()
    assert bell.rang(1)

    for _ in range(5):
        scheduler.watch()
        time.sleep(0.05)

    assert bell.rings <= 2  # a multiple of fifteen seconds may just have come


def test_a_busy_lane_is_left_alone_and_silence_is_not_death(
    scheduler: Scheduler, bell: Bell
) -> None:
    bell.go_on.clear()
    scheduler.start()
    assert bell.rang(1)

    scheduler.ring("bell")
    time.sleep(1.3)

    assert bell.rings == 1
    assert scheduler.silent_for() < 3


def test_before_the_start_nothing_is_amiss(scheduler: Scheduler) -> None:
    assert scheduler.silent_for() == 0
