"""The alarm clock: it rings on the grid of time, at once at start, and after a clock jump."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from forecaster.schedules import Every
from jobs import scheduler as scheduling
from jobs.scheduler import Alarm, Scheduler
from tests.jobs.clocks import Skew

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
def skew(monkeypatch: pytest.MonkeyPatch) -> Skew:
    return Skew(monkeypatch)


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


def test_alarms_ring_at_their_ticks_or_by_their_delay_later() -> None:
    rings: dict[float, list[float]] = {0.0: [], 0.3: []}
    alarms = [
        Alarm(
            name=f"{late}",
            lane="forecast",
            schedule=Every(timedelta(seconds=0.5)),
            delay=timedelta(seconds=late),
            action=partial(lambda late: rings[late].append(time.time()), late),
        )
        for late in rings
    ]
    scheduler = Scheduler(alarms, threads={"forecast": 2}, clock=now)
    scheduler.start()
    time.sleep(1.8)
    scheduler.stop()

    for late, rung in rings.items():
        after_ticks = [(ring - late) % 0.5 for ring in rung[1:]]  # the first one is the start
        assert len(after_ticks) >= 3
        assert all(0 <= seconds < 0.25 for seconds in after_ticks)


def test_an_alarm_is_rung_after_a_while_but_never_later_than_its_tick(bell: Bell) -> None:
    alarm = Alarm(name="bell", lane="forecast", schedule=Every(DAY), action=bell.ring)
    scheduler = Scheduler([alarm], threads={"forecast": 1}, clock=now)
    scheduler.start()
    assert bell.rang(1)

    begun = time.monotonic()
    scheduler.ring("bell", after=0.3)
    scheduler.ring("bell", after=9.0)

    assert bell.rang(2)
    assert 0.25 < time.monotonic() - begun < 2
    scheduler.stop()


@pytest.mark.fault(8)
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


@pytest.mark.fault(8)
def test_a_clock_that_stands_still_silences_nothing(
    scheduler: Scheduler, bell: Bell, skew: Skew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "CLOCK_JUMP", 0.3)
    scheduler.start()
    assert bell.rang(1)
    skew.freeze()

    for _ in range(15):
        scheduler.watch()
        time.sleep(0.1)

    assert bell.rang(3)
    assert scheduler.silent_for() < 1


def test_a_clock_that_keeps_time_rings_nothing_early(scheduler: Scheduler, bell: Bell) -> None:
    scheduler.start()
    assert bell.rang(1)

    for _ in range(5):
        scheduler.watch()
        time.sleep(0.05)

    assert bell.rings <= 2  # a multiple of fifteen seconds may just have come


@pytest.mark.fault(29)
def test_a_busy_lane_is_left_alone_then_woken_once_and_silence_is_not_death(
    scheduler: Scheduler, bell: Bell
) -> None:
    bell.go_on.clear()
    scheduler.start()
    assert bell.rang(1)

    scheduler.ring("bell")
    time.sleep(1.3)

    assert bell.rings == 1
    assert scheduler.silent_for() < 3
    bell.go_on.set()
    assert bell.rang(2)


def test_before_the_start_nothing_is_amiss(scheduler: Scheduler) -> None:
    assert scheduler.silent_for() == 0


def test_an_alarm_may_be_rung_while_its_clock_is_stopped(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.start()
    find = scheduler._scheduler.get_job

    def find_and_stop(name: str) -> object:
        job = find(name)
        scheduler.stop()
        return job

    monkeypatch.setattr(scheduler._scheduler, "get_job", find_and_stop)

    scheduler.ring("bell")

    assert scheduler.silent_for() == 0
