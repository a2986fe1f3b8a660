"""The timers that wake worker groups up; the only module that uses APScheduler.

Which ticks are due is read from the `runs` table by the group that wakes up
(`jobs.service.service`), so a wake-up that is late, doubled or lost costs nothing but time. A group
that is still busy when its alarm rings again is left alone, and woken once more when it is done.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from forecaster.times.schedules import Every, Schedule
from jobs.execution.clock import Clock

LONGEST_SLEEP = timedelta(seconds=15)
"""A worker group looks for ticks at least this often: what failed is tried again."""
CLOCK_JUMP = 2.0
"""Seconds of disagreement between the wall clock and the monotonic one that count as a jump."""

_PULSE = "pulse"

logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a busy worker group is normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """Call `action` at every tick of `schedule`, `delay` later, in the worker group `lane`."""

    name: str
    lane: str
    schedule: Schedule
    action: Callable[[], None]
    delay: timedelta = timedelta(0)


class _Trigger(BaseTrigger):  # type: ignore[misc]  # apscheduler ships no types
    """When to ring next, as our clock has it; what is waited for is a length of time."""

    def __init__(self, alarm: Timer, clock: Clock) -> None:
        self._alarm, self._clock = alarm, clock

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next tick or the end of the longest sleep, whatever comes first."""
        here = self._clock() - self._alarm.delay
        wait = min(LONGEST_SLEEP, self._alarm.schedule.after(here) - here)
        return datetime.now(UTC) + wait  # not `now`, which is older than `here`: too early


class _Action:
    """Rings in one thread at a time; a ring in between is made up for afterwards."""

    def __init__(self, action: Callable[[], None], again: Callable[[], None]) -> None:
        self._action, self._again = action, again
        self._lock = threading.Lock()
        self._is_busy = self._is_missed = False

    def __call__(self) -> None:
        with self._lock:
            self._is_missed = self._is_busy
            if self._is_busy:
                return
            self._is_busy = True
        try:
            self._action()
        finally:
            with self._lock:
                self._is_busy, is_missed = False, self._is_missed
            if is_missed:
                self._again()


class Scheduler:
    """Alarms on threads: each group has its own, so that none waits for another."""

    def __init__(
        self, alarms: Sequence[Timer], *, threads: Mapping[str, int], clock: Clock
    ) -> None:
        """Prepare `alarms`; `threads` says how many actions of each group may run at once."""
        self._clock = clock
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={
                lane: ThreadPoolExecutor(count) for lane, count in {**threads, _PULSE: 1}.items()
            },
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 2},
        )
        self._names = [alarm.name for alarm in alarms]
        pulse = Every(timedelta(seconds=1))
        for alarm in alarms:
            self._add(alarm)
        self._add(Timer(name=_PULSE, lane=_PULSE, schedule=pulse, action=self._beat))
        self._wall = self._monotonic = self._beaten = 0.0

    def _add(self, alarm: Timer) -> None:
        self._scheduler.add_job(
            _Action(alarm.action, lambda: self.ring(alarm.name)),
            _Trigger(alarm, self._clock),
            id=alarm.name,
            executor=alarm.lane,
            next_run_time=datetime.now(UTC),
        )

    def start(self) -> None:
        """Start, ringing every alarm at once: what is overdue runs now."""
        self._beat()
        self._remember_clocks()
        self._scheduler.start()

    def ring(self, name: str, *, after: float = 0.0) -> None:
        """Ring one alarm in `after` seconds, or when it would ring anyway if that is sooner."""
        at = datetime.now(UTC) + timedelta(seconds=after)
        job = self._scheduler.get_job(name)
        if job is not None and job.next_run_time > at:
            with suppress(JobLookupError):  # stopped meanwhile
                job.modify(next_run_time=at)

    def watch(self) -> None:
        """Ring everything when the wall clock has left the monotonic one; call every second.

        APScheduler sleeps until a wall-clock instant: one that is set back moves it out of reach,
        one that stands still never gets there.
        """
        moved = (time.time() - self._wall) - (time.monotonic() - self._monotonic)
        if abs(moved) > CLOCK_JUMP:
            for name in [*self._names, _PULSE]:
                self.ring(name)
            self._remember_clocks()

    def silent_for(self) -> float:
        """Return the seconds since the clock last beat; it beats every second, once started."""
        return time.monotonic() - self._beaten if self._scheduler.running else 0.0

    def stop(self) -> None:
        """Ring no more; actions under way go on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _beat(self) -> None:
        self._beaten = time.monotonic()

    def _remember_clocks(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()
