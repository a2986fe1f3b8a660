"""What a backfill reports: of each tick in its run row, and of all ticks at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """One tick that was backfilled; `rows` are forecast rows."""

    cutoff: datetime
    model_id: int
    trained_to: datetime
    series: int
    rows: int
    attention_rows: int
    statuses: Mapping[str, int]
    """Series by status of their forecast."""
    hindsight: int
    """Series forecast in hindsight, whatever their status."""
    skipped: Mapping[str, int]
    """Series without a forecast by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Ticks that failed, and why."""

    ticks: int
    first: datetime
    last: datetime
    error: str
    hint: str | None


@dataclass(slots=True, kw_only=True)
class BackfillReport:
    """One backfill, counted while it runs; rows that existed before are not counted as written."""

    job: ClassVar[str] = "backfill"
    dataset: str
    since: datetime
    until: datetime
    asked: int
    """Ticks in the range."""
    ticks: int = 0
    """Those that were done now."""
    in_service: int
    """Those that the service ran, and whose forecasts are there, or that it is about to run."""
    done_before: int
    """Those that a backfill did before, or another one at the same time."""
    failed_before: int
    """Those that failed in a backfill before, and that were not to be tried again."""
    left: int
    """Those that were not done because the backfill was stopped."""
    forecasts: int = 0
    """Of one series at one tick each."""
    rows: int = 0
    attention_rows: int = 0
    accuracy_rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    hindsight: int = 0
    """Forecasts in hindsight, whatever their status."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Forecasts that could not be made, by reason."""
    models: Counter[int] = field(default_factory=Counter)
    """Ticks by the model that forecast them."""
    trained: tuple[int, ...] = ()
    """Models that were trained by this backfill."""
    assumed: float = 0.0
    """Share of the values read that were ingested long after their timestamps."""
    known_after: str
    """How long after their timestamps these count as known."""
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    training_seconds: float = 0.0

    def add(self, reports: Sequence[TickReport], *, accuracy_rows: int, others: int) -> None:
        """Count what one transaction wrote; `others` are ticks that somebody else did meanwhile."""
        for report in reports:
            self.ticks += 1
            self.forecasts += report.series
            self.rows += report.rows
            self.attention_rows += report.attention_rows
            self.statuses.update(report.statuses)
            self.hindsight += report.hindsight
            self.skipped.update(report.skipped)
            self.models[report.model_id] += 1
        self.accuracy_rows += accuracy_rows
        self.done_before += others
        self.left -= len(reports) + others

    def fail(self, failure: Failure) -> None:
        """Count ticks that failed."""
        self.failures += (failure,)
        self.left -= failure.ticks

    def finish(self, *, seconds: float, values: int, assumed: int) -> None:
        """Add the duration, and how many of the `values` read were `assumed` to be known."""
        self.seconds, self.assumed = seconds, assumed / max(1, values)
        self.statuses = Counter(dict(sorted(self.statuses.items())))
        self.skipped = Counter(dict(sorted(self.skipped.items())))
        self.models = Counter(dict(sorted(self.models.items())))
