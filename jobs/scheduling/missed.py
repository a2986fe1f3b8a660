"""Notes ticks that will not be run, and why: some thousands at a time, and logs it once."""

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import writing
from forecaster.store.connection.limits import bounded
from forecaster.store.state import runs
from forecaster.store.state.run_history import Run
from jobs.execution.clock import Clock
from jobs.scheduling import misfire_policy

NOTED_WITHIN = timedelta(seconds=10)
"""How long one transaction may take that notes missed ticks."""

OnMissed = Callable[[str, str, str, int], None]
"""Called with ticks that are not run: job, dataset, one of `misfire_policy.REASONS`, count."""

log = logging.getLogger("forecaster")


class _Tally(NamedTuple):
    number: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """What one look at one job of one dataset finds that will not be run."""

    engine: Engine
    job: str
    dataset: DatasetConfig
    clock: Clock
    on_missed: OnMissed
    _tallies: dict[str, _Tally] = field(default_factory=dict)

    def note(self, reason: str, lost: Collection[datetime] | Collection[Run]) -> None:
        """Note ticks without a row, or those that were tried in vain."""
        rest: Iterator[datetime | Run] = iter(lost)
        while part := list(islice(rest, misfire_policy.SPAN)):
            if count := self._note(reason, part):
                self._count(reason, part, count)

    def log(self) -> None:
        """Log what was noted."""
        for reason, (count, first, last) in self._tallies.items():
            log.warning(
                "missed %s ticks job=%s dataset=%s from=%s to=%s: %s",
                count,
                self.job,
                self.dataset.name,
                first.isoformat(),
                last.isoformat(),
                misfire_policy.explain(reason, self.dataset),
            )

    def _note(self, reason: str, lost: Collection[datetime | Run]) -> int:
        now, why = self.clock(), misfire_policy.explain(reason, self.dataset)
        ticks = [each for each in lost if isinstance(each, datetime)]
        tried = [each for each in lost if isinstance(each, Run)]
        with (
            bounded(self.engine, "note missed ticks", NOTED_WITHIN) as brief,
            writing(brief) as conn,
        ):
            count = runs.record_missed(conn, self.job, self.dataset.name, ticks, now, why)
            return count + runs.give_up(conn, tried, now, why)

    def _count(self, reason: str, lost: Collection[datetime | Run], count: int) -> None:
        self.on_missed(self.job, self.dataset.name, reason, count)
        ticks = [each.tick if isinstance(each, Run) else each for each in lost]
        first, last = min(ticks), max(ticks)
        if before := self._tallies.get(reason):
            count, first = before.number + count, min(before.first, first)
            last = max(before.last, last)
        self._tallies[reason] = _Tally(count, first, last)
