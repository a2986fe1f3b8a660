"""Records ticks that will not be run, with the reason: in the `runs` table and in the log."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import writing
from forecaster.store.connection.limits import bounded
from forecaster.store.state import runs
from forecaster.store.state.run_history import Run
from jobs.execution.clock import Clock
from jobs.execution.log_lines import Event
from jobs.execution.reports import Json
from jobs.scheduling import misfire_policy

RECORDED_WITHIN = timedelta(seconds=10)
"""Deadline of one transaction that records missed ticks."""

OnMissed = Callable[[str, str, str, int], None]
"""Called with ticks that are not run: job, dataset, one of `misfire_policy.REASONS`, count."""

log = logging.getLogger("forecaster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """The missed ticks of one job on one dataset that are found together."""

    engine: Engine
    job: str
    dataset: DatasetConfig
    clock: Clock
    on_missed: OnMissed
    _ranges: dict[str, tuple[int, datetime, datetime]] = field(default_factory=dict)
    """By reason: how many, the first and the last."""

    def record(self, reason: str, ticks: Sequence[datetime], tried: Sequence[Run] = ()) -> None:
        """Record `ticks` without a row, and the runs of `tried` ones that never succeeded."""
        for first in range(0, max(len(ticks), len(tried)), misfire_policy.SPAN):
            part = slice(first, first + misfire_policy.SPAN)
            if count := self._write(reason, ticks[part], tried[part]):
                self.on_missed(self.job, self.dataset.name, reason, count)
                missed_ticks = [*ticks[part], *(run.tick for run in tried[part])]
                total, *ends = self._ranges.get(reason, (0,))
                missed_ticks += ends
                self._ranges[reason] = (total + count, min(missed_ticks), max(missed_ticks))

    def log(self) -> None:
        """Log what was recorded."""
        for reason, (count, first, last) in self._ranges.items():
            fields: dict[str, Json] = {
                "job": self.job,
                "dataset": self.dataset.name,
                "from": first.isoformat(),
                "to": last.isoformat(),
                "reason": misfire_policy.explain(reason, self.dataset),
            }
            log.warning(Event(f"missed {count} ticks", fields))

    def _write(self, reason: str, ticks: Sequence[datetime], tried: Sequence[Run]) -> int:
        now, why = self.clock(), misfire_policy.explain(reason, self.dataset)
        with (
            bounded(self.engine, "note missed ticks", RECORDED_WITHIN) as brief,
            writing(brief) as conn,
        ):
            count = runs.record_missed(conn, self.job, self.dataset.name, ticks, now, why)
            return count + runs.give_up(conn, tried, now, why)
