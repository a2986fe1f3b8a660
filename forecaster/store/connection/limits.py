"""Limits on database access of a job: deadlines, and the lease it writes under.

`guarded` puts both on an engine; `reading` and `writing` respect them.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, Engine, and_, select

from forecaster.errors import StageTimedOut, StoreError, TickTakenOver
from forecaster.store.tables import leases

_FENCE, _LIMIT = "forecaster_fence", "forecaster_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A fencing token: taking the lease over issues a greater one."""

    name: str
    holder: str
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    name: str
    seconds: float
    until: float


class Limit:
    """Deadlines of one job on the monotonic clock; of nested ones the nearest counts.

    One thread enters stages, any thread may ask.
    """

    def __init__(self, *, dataset: str | None = None) -> None:
        """No limit yet; hints of timeouts name the deadlines of `dataset`."""
        self._dataset = dataset
        self._stages: tuple[_Stage, ...] = ()

    @contextmanager
    def stage(self, name: str, length: timedelta) -> Iterator[None]:
        """Limit a block to `length`; StageTimedOut when a statement was cancelled for it."""
        seconds = length.total_seconds()
        entered = _Stage(name=name, seconds=seconds, until=time.monotonic() + seconds)
        before = self._stages
        self._stages = (*before, entered)
        try:
            with self.converting():
                yield
        finally:
            self._stages = before

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit a part of the current stage to `seconds`."""
        name = self._stages[-1].name if self._stages else "work"
        with self.stage(name, timedelta(seconds=seconds)):
            yield

    def renew(self) -> None:
        """Restart the timer of the current stage: a part of it was committed."""
        if self._stages:
            *outer, stage = self._stages
            self._stages = (*outer, replace(stage, until=time.monotonic() + stage.seconds))

    def remaining(self) -> float:
        """Return the seconds until the nearest deadline: negative after it, infinite for none."""
        return min((stage.until for stage in self._stages), default=math.inf) - time.monotonic()

    def overdue(self) -> float:
        """Return the seconds since the nearest deadline, 0 before it."""
        return max(0.0, -self.remaining())

    def check(self) -> None:
        """Raise StageTimedOut after the nearest deadline."""
        if self.overdue():
            raise self._timed_out()

    @contextmanager
    def converting(self) -> Iterator[None]:
        """Raise StageTimedOut for a database error after the deadline."""
        try:
            yield
        except StoreError as error:
            if not self.overdue():
                raise
            raise self._timed_out() from error

    def _timed_out(self) -> StageTimedOut:
        passed = min(self._stages, key=lambda stage: stage.until)
        setting = f", or raise the limit in [datasets.{self._dataset}.deadlines]"
        return StageTimedOut(
            f'stage "{passed.name}" timed out after {passed.seconds:g} s',
            hint=f"check what it waits for{setting if self._dataset else ''}",
        )


def guarded(engine: Engine, *, fence: Fence | None = None, limit: Limit | None = None) -> Engine:
    """Return `engine` for work under a lease, within a limit, or both; it shares connections.

    `writing` then raises TickTakenOver when the lease was lost; what takes too long is cancelled
    and raises StageTimedOut.
    """
    options = {_FENCE: fence, _LIMIT: limit}
    return engine.execution_options(**{key: value for key, value in options.items() if value})


@contextmanager
def bounded(engine: Engine, stage: str, length: timedelta) -> Iterator[Engine]:
    """Limit work on the engine to `length`, in place of any limit that it had."""
    limit = Limit()
    with limit.stage(stage, length):
        yield guarded(engine, limit=limit)


def limit_of(engine: Engine) -> Limit | None:
    """Return the limit that was put on the engine."""
    limit: Limit | None = engine.get_execution_options().get(_LIMIT)
    return limit


def fence_of(engine: Engine) -> Fence | None:
    """Return the fence that was put on the engine."""
    fence: Fence | None = engine.get_execution_options().get(_FENCE)
    return fence


def is_held(fence: Fence) -> ColumnElement[bool]:
    """Return the condition that a row of `leases` is the one under which a fence was given."""
    return and_(
        leases.c.name == fence.name,
        leases.c.holder == fence.holder,
        leases.c.token == fence.token,
    )


def hold_lease(conn: Connection) -> None:
    """Keep the lease from being taken over until the transaction ends; TickTakenOver if it was."""
    fence: Fence | None = conn.get_execution_options().get(_FENCE)
    if fence is None:
        return
    lock = select(leases.c.token).where(is_held(fence)).with_for_update(read=True, key_share=True)
    if conn.scalar(lock) is None:
        raise TickTakenOver(
            f"lost lease {fence.name} (token {fence.token}): taken over by another process; "
            "nothing written"
        )


def set_statement_timeout(conn: Connection) -> None:
    """Set statement_timeout of this transaction to what remains of the limit."""
    limit = limit_of(conn.engine)
    remaining = math.inf if limit is None else limit.remaining()
    if conn.dialect.name == "postgresql" and remaining < math.inf:
        milliseconds = max(1, math.ceil(remaining * 1000))
        conn.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
