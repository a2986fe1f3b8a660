"""Timers fire at ticks, at once at start, and after a clock jump."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent

from forecaster.times.schedules import Every
from jobs.scheduling import timer as scheduling
from jobs.scheduling.timer import Scheduler, Timer
from tests.jobs.clocks import Skew
from tests.jobs.small import fixed
from tests.patience import PATIENCE, eventually, not_hanging

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
        self.go_on.wait(PATIENCE)

    def rang(self, times: int) -> bool:
        return eventually(lambda: self.rings >= times)


@pytest.fixture(autouse=True)
def long_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its ticks a timer only fires when it is woken."""
    monkeypatch.setattr(scheduling, "LONGEST_SLEEP", DAY)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def skew(monkeypatch: pytest.MonkeyPatch) -> Skew:
    return Skew(monkeypatch)


@pytest.fixture
def scheduler(bell: Bell) -> Iterator[Scheduler]:
    timer = Timer(name="bell", group="forecast", schedule=Every(DAY), action=bell.ring)
    made = Scheduler([timer], threads={"forecast": 1}, clock=now)
    yield made
    bell.go_on.set()
    made.stop()


def test_every_timer_fires_at_start(scheduler: Scheduler, bell: Bell) -> None:
    scheduler.start()

    assert bell.rang(1)


def test_a_timer_can_be_woken_by_hand(scheduler: Scheduler, bell: Bell) -> None:
    scheduler.start()
    assert bell.rang(1)

    scheduler.wake("bell")

    assert bell.rang(2)


@pytest.mark.parametrize(("late", "wait"), [(0.0, 0.3), (0.3, 0.1), (0.9, 0.2)])
def test_a_timer_is_set_to_its_tick_or_by_its_delay_later(late: float, wait: float) -> None:
    timer = Timer(
        name="bell",
        group="forecast",
        schedule=Every(timedelta(seconds=0.5)),
        delay=timedelta(seconds=late),
        action=Bell().ring,
    )
    clock = fixed(datetime(2026, 1, 1, 9, 0, 0, 200_000, tzinfo=UTC))
    wakes, begun = scheduling._Trigger(timer, clock), now()

    found = wakes.get_next_fire_time(None, begun)

    assert begun + timedelta(seconds=wait) <= found <= now() + timedelta(seconds=wait)


def test_a_timer_fires_tick_after_tick(bell: Bell) -> None:
    schedule = Every(timedelta(seconds=0.2))
    timer = Timer(name="bell", group="forecast", schedule=schedule, action=bell.ring)
    scheduler = Scheduler([timer], threads={"forecast": 2}, clock=now)
    scheduler.start()

    assert bell.rang(4)
    scheduler.stop()


def test_a_timer_fires_after_a_while_but_never_later_than_its_tick(bell: Bell) -> None:
    timer = Timer(name="bell", group="forecast", schedule=Every(DAY), action=bell.ring)
    scheduler = Scheduler([timer], threads={"forecast": 1}, clock=now)
    scheduler.start()
    assert bell.rang(1)

    with not_hanging(least=0.25):
        scheduler.wake("bell", after=0.3)
        scheduler.wake("bell", after=10 * PATIENCE)
        assert bell.rang(2)
    scheduler.stop()


@pytest.mark.fault(8)
@pytest.mark.parametrize("jump", [-3600, 86_400])
def test_a_clock_that_jumps_rings_everything(
    scheduler: Scheduler, bell: Bell, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    scheduler.start()
    assert bell.rang(1)
    scheduler.check_clock()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)

    scheduler.check_clock()

    assert bell.rang(2)


@pytest.mark.fault(8)
def test_a_clock_that_stands_still_silences_nothing(
    scheduler: Scheduler, bell: Bell, skew: Skew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "CLOCK_JUMP", 0.3)
    scheduler.start()
    assert bell.rang(1)
    skew.freeze()

    def is_heard() -> bool:
        scheduler.check_clock()
        return bell.rings >= 3 and scheduler.silent_for() < 0.5

    assert eventually(is_heard)


def test_a_clock_that_keeps_time_rings_nothing_early(scheduler: Scheduler, bell: Bell) -> None:
    scheduler.start()
    assert bell.rang(1)

    for _ in range(5):
        scheduler.check_clock()
        time.sleep(0.05)

    assert bell.rings == 1


@pytest.mark.fault(29)
def test_a_busy_group_is_left_alone_then_woken_once_and_silence_is_not_death(
    scheduler: Scheduler, bell: Bell
) -> None:
    bell.go_on.clear()
    scheduler.start()
    assert bell.rang(1)

    scheduler.wake("bell")

    assert eventually(lambda: scheduler.silent_for() > 0.5)
    assert eventually(lambda: scheduler.silent_for() < 0.5)
    assert bell.rings == 1
    bell.go_on.set()
    assert bell.rang(2)


def test_a_timer_is_not_forgotten_whose_action_ended_before_it_is_reported_as_skipped(
    scheduler: Scheduler, bell: Bell
) -> None:
    scheduler.start()
    assert bell.rang(1)

    skipped = JobSubmissionEvent(EVENT_JOB_MAX_INSTANCES, "bell", "default", [now()])
    scheduler._scheduler._dispatch_event(skipped)

    assert bell.rang(2)


def test_before_the_start_nothing_is_amiss(scheduler: Scheduler) -> None:
    assert scheduler.silent_for() == 0


def test_a_timer_may_be_woken_while_its_scheduler_is_stopped(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.start()
    find = scheduler._scheduler.get_job

    def find_and_stop(name: str) -> object:
        job = find(name)
        scheduler.stop()
        return job

    monkeypatch.setattr(scheduler._scheduler, "get_job", find_and_stop)

    scheduler.wake("bell")

    assert scheduler.silent_for() == 0
