"""Who held which lease when: looked at ten times a second, for as long as a soak lasts."""

import threading
import time
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Engine, select

from forecaster.errors import StoreError
from forecaster.store import tables
from forecaster.store.connection.engine import reading
from forecaster.store.state.leases import NOBODY
from tests.faults.soak.mischief import Blow

_EVERY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """From `at` on, `holder` held the lease `name` under `token`."""

    at: float
    name: str
    holder: str
    token: int


class Witness:
    """Notes every change of the leases."""

    def __init__(self, engine: Engine) -> None:
        self.changes: list[Held] = []
        self._engine = engine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def fallen(self) -> list[str]:
        """Return the leases whose token was once lower than before."""
        highest: dict[str, int] = {}
        found = []
        for change in self.changes:
            if change.token < highest.get(change.name, 0):
                found.append(f"{change.name}: {change.token} after {highest[change.name]}")
            highest[change.name] = max(change.token, highest.get(change.name, 0))
        return found

    def takeovers(self, blows: list[Blow], outages: list[tuple[float, float]]) -> list[float]:
        """Return the seconds until somebody else held each lease that a hurt replica had.

        Only where somebody else was there, and so was the database.
        """
        return [
            taken - blow.at
            for blow in blows
            for held in self._held_by(blow)
            if blow.others and (taken := self._taken_at(held, blow)) is not None
            if not any(begin < taken and end > blow.at for begin, end in outages)
        ]

    def _held_by(self, blow: Blow) -> list[Held]:
        holders = {change.name: change for change in self.changes if change.at <= blow.at}
        return [held for held in holders.values() if is_held_by(held.holder, blow.pid)]

    def _taken_at(self, held: Held, blow: Blow) -> float | None:
        later = (
            change.at
            for change in self.changes
            if change.name == held.name
            and change.at > blow.at
            and change.holder not in (held.holder, NOBODY)
        )
        return next(later, None)

    def _look(self) -> None:
        now: dict[str, tuple[str, int]] = {}
        leases = tables.leases
        while not self._over.wait(_EVERY):
            try:
                with reading(self._engine) as conn:
                    rows = conn.execute(select(leases.c.name, leases.c.holder, leases.c.token))
                    found = [(row.name, row.holder, row.token) for row in rows]
            except StoreError:
                continue
            for name, holder, token in found:
                if now.get(name) != (holder, token):
                    now[name] = (holder, token)
                    held = Held(at=time.monotonic(), name=name, holder=holder, token=token)
                    self.changes.append(held)


def is_held_by(holder: str, pid: int) -> bool:
    """Tell whether the process with this id is the one that `holder` names."""
    return str(pid) in holder.split("-")[2:3]
