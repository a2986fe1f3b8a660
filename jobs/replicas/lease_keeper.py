"""One of several replicas: holds the leases of some datasets, in a thread of its own.

A lease is renewed every third of its time, and all leases are surveyed then; more often only where
one may soon change hands, or a process has ended on this machine (`jobs.replicas.assignment`). A
lease that could not be renewed for all of its time counts as lost, by the clock of this process;
whatever clocks say, the database refuses every write under a lease whose token has changed
(`forecaster.store.connection.limits`).
"""

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection, Engine

from forecaster.errors import ForecasterError
from forecaster.store.connection.engine import autocommit, writing
from forecaster.store.connection.limits import Fence, Limit, bounded, guarded
from forecaster.store.state import leases
from forecaster.store.state.leases import NOBODY, Lease, LeaseSnapshot
from jobs.replicas import identity
from jobs.replicas.assignment import MembershipView
from jobs.replicas.hooks import Hooks, notify

LOOK_SECONDS = 1.0
"""How often to check whether a survey of the leases is needed."""
LONGEST_POLL = 10.0
"""Seconds that a survey, and all that follows from it, may take where leases live long."""
POLL_ENDS_WITHIN = 0.5
"""Seconds that a running poll may still take when all leases are released."""
_RELEASE_WITHIN = timedelta(seconds=1)
_DEAD_FOR = timedelta(hours=1)

log = logging.getLogger("forecaster")


class Replica:
    """The leases of this process: `start`, ask `using` or `lease_of`, `stop`.

    `engine` must be one of its own, so that a busy pool does not keep leases from being renewed,
    and its `application_name` that of the holder (`leases.session_name`).
    """

    def __init__(
        self,
        engine: Engine,
        datasets: Sequence[str],
        *,
        holder: str,
        ttl: timedelta,
        hooks: Hooks | None = None,
    ) -> None:
        self._limit = Limit()
        self._engine = guarded(engine, limit=self._limit)
        self._holder, self._ttl, self._hooks = holder, ttl, hooks or Hooks()
        self._datasets = tuple(datasets)
        self._membership = MembershipView(holder, ttl.total_seconds())
        self._lock = threading.Lock()
        self._held: dict[str, Fence] = {}
        self._in_use: Counter[str] = Counter()
        self._notified: dict[str, Fence] = {}
        self._released: set[Fence] = set()
        self._renewed_at = -math.inf
        self._logged: dict[str, str] = {}
        self._polled_at: float | None = None
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)

    def start(self) -> None:
        """Join the others, and take what is free."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing, and release all leases; call it when no job is running."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(min(self._third, POLL_ENDS_WITHIN))
        self.release()

    def release(self) -> None:
        """Release all leases at once, so that other replicas need not wait for their end."""
        with self._lock:
            fences = list(self._held.values())
            self._held.clear()
        try:
            with bounded(self._engine, "release", _RELEASE_WITHIN) as brief, writing(brief) as conn:
                leases.release(conn, fences)
                leases.delete_member(conn, self._holder)
            self._released.update(fences)
        except ForecasterError as error:
            log.warning("could not release the leases, they will expire: %s", error.message)
        self._notify_changes()

    def serve(self, datasets: Sequence[str]) -> None:
        """Share other datasets from now on; leases on the others are released once unused."""
        with self._lock:
            self._datasets = tuple(datasets)
        self._wake.set()

    def lease_of(self, dataset: str) -> Fence | None:
        """Return the lease on a dataset; None while this replica holds none."""
        with self._lock:
            return self._valid(dataset)

    def silent_for(self) -> float:
        """Return the seconds since the lease thread last polled; 0 unless it is running.

        Much more than LONGEST_POLL means that the thread is dead.
        """
        polled_at = None if self._stopping.is_set() else self._polled_at
        return 0.0 if polled_at is None else self._hooks.uptime() - polled_at

    @contextmanager
    def using(self, dataset: str) -> Iterator[Fence | None]:
        """Do not release the lease on a dataset before the block ends."""
        with self._lock:
            fence = self._valid(dataset)
            self._in_use[dataset] += fence is not None
        try:
            yield fence
        finally:
            with self._lock:
                self._in_use[dataset] -= fence is not None

    @property
    def _longest(self) -> float:
        return min(self._third, LONGEST_POLL)

    @property
    def _third(self) -> float:
        return self._ttl.total_seconds() / 3

    def _valid(self, dataset: str) -> Fence | None:
        is_sure = self._hooks.uptime() - self._renewed_at < self._ttl.total_seconds()
        return self._held.get(dataset) if is_sure else None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._polled_at = self._hooks.uptime()
            try:
                self._attempt("could not renew the leases", self._poll_in_time)
            except Exception:
                log.exception("could not renew the leases, retrying")
            self._notify_changes()
            self._wake.wait(min(LOOK_SECONDS, self._third))
            self._wake.clear()

    def _poll_in_time(self) -> None:
        with self._limit.stage("lease", timedelta(seconds=self._longest)):
            self._poll()

    def _poll(self) -> None:
        with self._lock:
            held, wanted = set(self._held), self._datasets
        is_due = self._hooks.uptime() - self._renewed_at >= self._third
        if not is_due and not self._membership.needs_survey(self._hooks.uptime(), held, wanted):
            return
        with autocommit(self._engine) as conn:
            if is_due:
                self._renew(conn)
            with self._lock:
                held, wanted = set(self._held), self._datasets
            self._survey(conn, [name for name in wanted if name not in held])
        moves: dict[str, Callable[[], None]] = {
            dataset: partial(self._hand_back, dataset)
            for dataset in self._membership.to_release(held) | (held - {*wanted})
        }
        for dataset, lease in self._membership.to_acquire():
            moves[dataset] = partial(self._acquire, dataset, lease)
        for dataset in sorted(moves, key=lambda name: _move_failed(name) in self._logged):
            self._move(dataset, moves[dataset])

    def _move(self, dataset: str, move: Callable[[], None]) -> None:
        """Acquire or release a lease; one that fails comes last the next time."""
        self._limit.check()
        with self._limit.within(self._longest / 2):
            self._attempt(_move_failed(dataset), move)

    def _renew(self, conn: Connection) -> None:
        began = self._hooks.uptime()
        renewed = leases.renew(conn, self._holder, self._ttl)
        member = leases.of_member(self._holder)
        if member not in renewed:
            leases.acquire(conn, member, self._holder, self._ttl)
            leases.delete_gone_members(conn, _DEAD_FOR)
        with self._lock:
            self._renewed_at = began
            self._held = {
                dataset: fence
                for dataset, fence in self._held.items()
                if renewed.get(fence.name) == fence.token
            }

    def _survey(self, conn: Connection, wanted: Sequence[str]) -> None:
        before = self._hooks.clock()
        survey = leases.read_all(conn)
        between = before + (self._hooks.clock() - before) / 2
        gone = leases.disconnected_holders(conn, self._overdue(survey))
        notify(self._hooks.skewed, (survey.now - between).total_seconds())
        gone |= {lease.holder for lease in survey.leases.values() if identity.is_gone(lease.holder)}
        self._membership.update(survey.leases, gone, self._hooks.uptime(), wanted)

    def _overdue(self, survey: LeaseSnapshot) -> set[str]:
        """Return the holders whose renewal is overdue."""
        late = (lease for lease in survey.leases.values() if lease.left <= self._ttl / 3)
        return {lease.holder for lease in late} - {NOBODY, self._holder}

    def _acquire(self, dataset: str, lease: Lease | None) -> None:
        """Acquire a lease; the sessions of its former holder are terminated."""
        if self._stopping.is_set():
            return
        with writing(self._engine) as conn:
            name = leases.of_dataset(dataset)
            if lease is not None and lease.holder not in (NOBODY, self._holder):
                if leases.find(conn, name) != lease:
                    return  # renewed since it was looked at: its holder lives
                leases.end_sessions(conn, lease.holder)
            fence = leases.acquire(conn, name, self._holder, self._ttl, over=lease)
        if fence is not None:
            with self._lock:
                self._held[dataset] = fence

    def _hand_back(self, dataset: str) -> None:
        """Release a lease unless it is in use; one that could not be released is kept."""
        with self._lock:
            if self._in_use[dataset]:
                return
            fence = self._held.pop(dataset)
        try:
            with writing(self._engine) as conn:
                leases.release(conn, [fence])
            self._released.add(fence)
        except BaseException:
            with self._lock:
                self._held[dataset] = fence
            raise

    def _notify_changes(self) -> None:
        """Log and report which leases changed since the last time, expired ones included."""
        with self._lock:
            now = {name: fence for name in self._held if (fence := self._valid(name))}
        before, self._notified = self._notified, now
        for dataset in before.keys() | now.keys():
            if before.get(dataset) != (fence := now.get(dataset)):
                log.info(self._change(dataset, before.get(dataset), fence))
                notify(self._hooks.changed, dataset, fence)

    def _change(self, dataset: str, before: Fence | None, now: Fence | None) -> str:
        if now is not None:
            return f"acquired the lease on {dataset} (token {now.token})"
        assert before is not None
        verb = "released" if before in self._released else "lost"
        self._released.discard(before)
        return f"{verb} the lease on {dataset} (token {before.token})"

    def _attempt(self, failure: str, action: Callable[[], None]) -> None:
        """Run `action`; log `failure` once for as long as its cause is the same."""
        try:
            action()
        except ForecasterError as error:
            if self._logged.get(failure) != error.message:
                log.warning("%s: %s", failure, error.message)
            self._logged[failure] = error.message
        else:
            self._logged.pop(failure, None)


def _move_failed(dataset: str) -> str:
    return f"could not acquire or release the lease on {dataset}"
