"""The timers that wake worker groups; the only module that uses APScheduler.

Which ticks are due is read from the `runs` table by the group that is woken
(`jobs.scheduling.catch_up`), so a wake-up that is late, doubled or lost costs nothing but time. A
timer that fires while its action still runs fires once more when that is done.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler import events
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from forecaster.times.schedules import Every, Schedule
from jobs.execution.clock import Clock

LONGEST_SLEEP = timedelta(seconds=15)
"""A timer fires at least this often: clocks are set, and what others do may not be known."""
BUSY_RETRY = 1.0
"""Seconds until a timer that was skipped because its action still ran fires again at the latest."""
CLOCK_JUMP = 2.0
"""Seconds of disagreement between the wall clock and the monotonic one that count as a jump."""

_HEARTBEAT = "heartbeat"

logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a busy worker group is normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """Call `action` at every tick of `schedule`, `delay` later, in a thread of `group`."""

    name: str
    group: str
    schedule: Schedule
    action: Callable[[], None]
    delay: timedelta = timedelta(0)


class _Trigger(BaseTrigger):  # type: ignore[misc]  # apscheduler ships no types
    """When a timer fires next by our clock, as a duration from now."""

    def __init__(self, timer: Timer, clock: Clock) -> None:
        self._timer, self._clock = timer, clock

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next tick or the end of the longest sleep, whichever is earlier."""
        here = self._clock() - self._timer.delay
        wait = min(LONGEST_SLEEP, self._timer.schedule.after(here) - here)
        return datetime.now(UTC) + wait  # not `now`, which is older than `here`: too early


class Scheduler:
    """Timers on threads: each worker group has its own, so that none waits for another."""

    def __init__(
        self, timers: Sequence[Timer], *, threads: Mapping[str, int], clock: Clock
    ) -> None:
        """Prepare `timers`; `threads` is how many actions of each group may run at once."""
        self._clock = clock
        pools = {group: ThreadPoolExecutor(count) for group, count in threads.items()}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={**pools, _HEARTBEAT: ThreadPoolExecutor(1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )
        ended = events.EVENT_JOB_EXECUTED | events.EVENT_JOB_ERROR
        self._scheduler.add_listener(self._repeat, events.EVENT_JOB_MAX_INSTANCES | ended)
        self._fired_while_busy: set[str] = set()
        second, self._last_beat = Every(timedelta(seconds=1)), 0.0
        beat = Timer(name=_HEARTBEAT, group=_HEARTBEAT, schedule=second, action=self._beat)
        self._names = [timer.name for timer in (*timers, beat)]
        for timer in (*timers, beat):
            self._add(timer)

    def _add(self, timer: Timer) -> None:
        self._scheduler.add_job(
            timer.action,
            _Trigger(timer, self._clock),
            id=timer.name,
            executor=timer.group,
            next_run_time=datetime.now(UTC),
        )

    def start(self) -> None:
        """Start, and fire every timer at once: what is overdue runs now."""
        self._beat()
        self._remember_clocks()
        self._scheduler.start()

    def wake(self, name: str, *, after: float = 0.0) -> None:
        """Fire one timer in `after` seconds, or when it would fire anyway if that is sooner."""
        at = datetime.now(UTC) + timedelta(seconds=after)
        job = self._scheduler.get_job(name)
        if job is not None and job.next_run_time > at:
            with suppress(JobLookupError):  # stopped meanwhile
                job.modify(next_run_time=at)

    def check_clock(self) -> None:
        """Fire everything when the wall clock has left the monotonic one; call every second.

        APScheduler sleeps until a wall-clock instant: one that is set back moves it out of reach,
        one that stands still never gets there.
        """
        moved = (time.time() - self._wall) - (time.monotonic() - self._monotonic)
        if abs(moved) > CLOCK_JUMP:
            for name in self._names:
                self.wake(name)
            self._remember_clocks()

    def silent_for(self) -> float:
        """Return the seconds since the last heartbeat; there is one every second, once started."""
        return time.monotonic() - self._last_beat if self._scheduler.running else 0.0

    def stop(self) -> None:
        """Fire no more; actions in progress go on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _repeat(self, event: events.JobEvent) -> None:
        """Fire a timer once more when its action is done, if it fired meanwhile.

        The action may have ended before APScheduler says that the timer was skipped.
        """
        if event.code == events.EVENT_JOB_MAX_INSTANCES:
            self._fired_while_busy.add(event.job_id)
            self.wake(event.job_id, after=BUSY_RETRY)
        elif event.job_id in self._fired_while_busy:
            self._fired_while_busy.discard(event.job_id)
            self.wake(event.job_id)

    def _beat(self) -> None:
        self._last_beat = time.monotonic()

    def _remember_clocks(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()
