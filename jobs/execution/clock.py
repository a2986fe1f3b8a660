"""The scheduler's clock, which ignores sudden jumps for a while, and the jitter of datasets.

A tick of the future that was run by mistake cannot run again when its time comes, so a wall clock
that runs ahead of the machine's uptime is followed after ten minutes only. One that was set back is
followed at once, and repeats nothing: those ticks have rows.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from forecaster.config.settings import DatasetConfig

Clock = Callable[[], datetime]
"""Returns the current time, with a zone."""

JUMP = timedelta(minutes=1)
"""A wall clock that jumps forward by more is ignored at first."""
DOUBT = 600.0
"""Seconds until it is followed all the same."""

log = logging.getLogger("forecaster")


def delay(group: str, dataset: DatasetConfig) -> timedelta:
    """Return how long after its tick a worker group serves a dataset: a share of `jitter`.

    It is always the same, so that the load of many datasets is spread evenly.
    """
    share = zlib.crc32(f"{group}:{dataset.name}".encode()) / 2**32
    return share * dataset.jitter


def uptime() -> float:
    """Return seconds of a clock that cannot be set and that counts while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def wall() -> datetime:
    """Return the time of the system clock."""
    return datetime.now(UTC)


class SteadyClock:
    """The wall clock, except that it is not followed far ahead at once.

    Ticks of the future that are run by mistake cannot be run again when their time has come. So a
    clock that jumps forward is followed after a while, or as far as it was followed before; one
    that is set back is followed at once.
    """

    def __init__(self, wall: Clock = wall, uptime: Callable[[], float] = uptime) -> None:
        self._wall, self._uptime = wall, uptime
        self._lock = threading.Lock()
        self._begun = self._furthest = wall() - timedelta(seconds=uptime())
        """The wall-clock time at uptime 0 that is followed; and the latest such time."""
        self._doubted: float | None = None

    def __call__(self) -> datetime:
        """Return the current time."""
        with self._lock:
            up = self._uptime()
            begun = self._wall() - timedelta(seconds=up)
            if begun > self._furthest + JUMP and self._is_doubtful(up, ahead=begun - self._begun):
                return self._begun + timedelta(seconds=up)
            self._doubted, self._begun = None, begun
            self._furthest = max(self._furthest, begun)
            return begun + timedelta(seconds=up)

    def _is_doubtful(self, up: float, *, ahead: timedelta) -> bool:
        if self._doubted is None:
            self._doubted = up
            log.warning("system clock jumped forward by %s; ignored for %g min", ahead, DOUBT / 60)
        return up - self._doubted < DOUBT
