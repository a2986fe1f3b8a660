"""The alarm clock: wakes lanes up, and decides nothing. The only home of apscheduler.

Which ticks are due is read from the `runs` table by the lane that wakes up (`jobs.service`), so a
wake-up that is late, doubled or lost costs nothing but time. A lane that is still busy when its
alarm rings again is left alone.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import gcd

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

LONGEST_SLEEP = timedelta(seconds=15)
"""A lane looks for ticks at least this often: what failed is tried again."""
CLOCK_JUMP = 2.0
"""Seconds of disagreement between the wall clock and the monotonic one that count as a jump."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PULSE = "pulse"

logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a busy lane is no news


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Ring for `action` at every multiple of `every` since 1970, in the thread of its `lane`."""

    name: str
    lane: str
    every: timedelta
    action: Callable[[], None]


class Scheduler:
    """Alarms on threads: each lane has its own, so that no lane waits for another."""

    def __init__(self, alarms: Sequence[Alarm], *, threads: Mapping[str, int]) -> None:
        """Prepare `alarms`; `threads` says how many actions of each lane may run at once."""
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={
                lane: ThreadPoolExecutor(count) for lane, count in {**threads, _PULSE: 1}.items()
            },
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._names = [alarm.name for alarm in alarms]
        for alarm in alarms:
            self._add(alarm)
        self._add(Alarm(name=_PULSE, lane=_PULSE, every=timedelta(seconds=1), action=self._beat))
        self._wall = self._monotonic = self._beaten = 0.0

    def _add(self, alarm: Alarm) -> None:
        seconds = period(alarm.every)
        self._scheduler.add_job(
            alarm.action,
            IntervalTrigger(seconds=seconds, start_date=_EPOCH, timezone=UTC),
            id=alarm.name,
            executor=alarm.lane,
            next_run_time=datetime.now(UTC),
        )

    def start(self) -> None:
        """Start, ringing every alarm at once: what is overdue runs now."""
        self._remember()
        self._scheduler.start()

    def ring(self, name: str) -> None:
        """Ring one alarm now."""
        self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def watch(self) -> None:
        """Ring everything after a jump of the wall clock; call about once a second.

        APScheduler sleeps until a wall-clock instant, which a clock set back moves out of reach.
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

    def _remember(self) -> None:
        self._beat()
        self._remember_clocks()

    def _remember_clocks(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()


def period(every: timedelta) -> int:
    """Return seconds between wake-ups that hit every multiple of `every`, at most 15 apart."""
    return gcd(max(1, int(every.total_seconds())), int(LONGEST_SLEEP.total_seconds()))
