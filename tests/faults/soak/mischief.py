"""What goes wrong in a soak: random faults, one after the other and some at the same time."""

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.soak.fleet import GIVES_UP, STOPS_WITHIN, Fleet, Replica
from tests.faults.soak.stage import LEASE_SECONDS, Postgres, Store

PAUSE = (2.0, 8.0)
"""Seconds from one fault to the next, at least and at most."""
_LOOK_EVERY = 0.2

Action = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """A replica that was killed or stopped, and when."""

    pid: int
    at: float
    others: int
    """How many replicas were able to take over."""


@dataclass(slots=True, kw_only=True)
class Mischief:
    """Hurts a fleet and its database until told to stop, and mends everything afterwards."""

    fleet: Fleet
    store: Store
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    blows: list[Blow] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    """When the database was down: from, to."""
    stop_seconds: list[float] = field(default_factory=list)
    """How long replicas took to end after SIGTERM."""
    _agenda: list[tuple[float, int, Action]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _resting: set[str] = field(default_factory=set)
    """Replicas that were ended on purpose and will be started again."""
    _crashed_at: float | None = None

    def rage(self, seconds: float) -> None:
        """Bring about faults for `seconds`."""
        until = time.monotonic() + seconds
        self._plan(self.chance.uniform(*PAUSE), self._next)
        while time.monotonic() < until:
            self._work()

    def mend(self) -> None:
        """Bring about no more faults, and repair what the last ones did."""
        self._agenda = [each for each in self._agenda if each[2] != self._next]
        heapq.heapify(self._agenda)
        while self._agenda or len(self.fleet.running()) < len(self.fleet.replicas):
            self._work()

    def watch(self) -> None:
        """Let time pass, and see that no replica ends by itself."""
        self._work()

    def stop(self) -> None:
        """End all replicas as an operator does."""
        for replica in self.fleet.replicas:
            self._resting.add(replica.name)
            replica.send(signal.SIGTERM)
        while any(replica.status is None for replica in self.fleet.replicas):
            self._work()
        self._look()

    def _plan(self, seconds: float, action: Action) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._numbers), action))

    def _work(self) -> None:
        self._look()
        while self._agenda and self._agenda[0][0] <= time.monotonic():
            heapq.heappop(self._agenda)[2]()
        time.sleep(_LOOK_EVERY)

    def _look(self) -> None:
        for replica in self.fleet.replicas:
            if replica.ending_since is not None:
                self._see_it_end(replica)
            elif replica.status is not None and replica.name not in self._resting:
                self._count_an_end(replica)

    def _see_it_end(self, replica: Replica) -> None:
        assert replica.ending_since is not None
        took = time.monotonic() - replica.ending_since
        if replica.status is None and took < STOPS_WITHIN:
            return
        if replica.status != 0 and not replica.ended_in_start:
            self.violations.append(f"{replica.name} after SIGTERM: {replica.status}, {took:.1f} s")
            replica.end()
        replica.ending_since = None
        self.stop_seconds.append(took)

    def _count_an_end(self, replica: Replica) -> None:
        if replica.status == GIVES_UP:
            self.counts["gave up by itself"] += 1
        else:
            self.violations.append(f"{replica.name} ended by itself: {replica.status}")
        self._start_later(replica)

    def _start_later(self, replica: Replica) -> None:
        def start() -> None:
            if replica.status is None:  # it still ends
                self._plan(_LOOK_EVERY, start)
                return
            self._resting.discard(replica.name)
            replica.start()

        self._resting.add(replica.name)
        self._plan(self.chance.uniform(0, 2), start)

    def _next(self) -> None:
        self._plan(self.chance.uniform(*PAUSE), self._next)
        faults: list[Callable[[Replica], None]] = [
            self._kill, self._terminate, self._stop, self._kill_training, self._disturb,
        ]  # fmt: skip
        if isinstance(self.store, Postgres):
            faults.append(self._crash)
        if running := self.fleet.running():
            self.chance.choice(faults)(self.chance.choice(running))

    def _kill(self, replica: Replica) -> None:
        self._count("kill -9 of a replica", replica)
        replica.send(signal.SIGKILL)
        self._start_later(replica)

    def _terminate(self, replica: Replica) -> None:
        self.counts["SIGTERM of a replica"] += 1
        replica.send(signal.SIGTERM)
        self._start_later(replica)

    def _stop(self, replica: Replica) -> None:
        self._count("SIGSTOP of a replica", replica)
        replica.send(signal.SIGSTOP)
        seconds = self.chance.uniform(1.2, 3) * LEASE_SECONDS
        self._plan(seconds, lambda: replica.send(signal.SIGCONT))

    def _kill_training(self, _: Replica) -> None:
        trainings = [child for each in self.fleet.running() for child in each.trainings()]
        for child in trainings[:1]:
            self.counts["kill -9 of a training"] += 1
            child.kill()

    def _disturb(self, _: Replica) -> None:
        is_postgres = isinstance(self.store, Postgres)
        self.counts["sessions cut" if is_postgres else "file locked"] += 1
        self.store.disturb(self.chance)

    def _crash(self, _: Replica) -> None:
        assert isinstance(self.store, Postgres)
        if self._crashed_at is not None:
            return
        self.counts["crash of the database"] += 1
        self._crashed_at = time.monotonic()
        self.store.crash()
        self._plan(self.chance.uniform(0.1, 3), self._recover)

    def _recover(self) -> None:
        assert isinstance(self.store, Postgres)
        assert self._crashed_at is not None
        self.store.recover()
        self.outages.append((self._crashed_at, time.monotonic()))
        self._crashed_at = None

    def _count(self, kind: str, replica: Replica) -> None:
        self.counts[kind] += 1
        others = len(self.fleet.running()) - 1
        self.blows.append(Blow(pid=replica.pid, at=time.monotonic(), others=others))
