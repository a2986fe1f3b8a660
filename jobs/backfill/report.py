"""What a backfill says: of each tick in its run row, and of all of them in the end."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from jobs.backfill.plan import BackfillRequest, Plan


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
    """Ticks that could not be done, and why."""

    ticks: int
    first: datetime
    last: datetime
    error: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillReport:
    """One backfill; what was there before is not counted among what was written."""

    job: ClassVar[str] = "backfill"
    dataset: str
    since: datetime
    until: datetime
    asked: int
    """Ticks in the range."""
    ticks: int
    """Those that were done now."""
    in_service: int
    """Those that the service ran, and whose forecasts are there, or that it is about to run."""
    done_before: int
    failed_before: int
    """Those that a backfill failed with before, and that were not to be tried again."""
    left: int
    """Those that were not done because somebody asked for the end."""
    forecasts: int
    """Of one series at one tick each."""
    rows: int
    attention_rows: int
    accuracy_rows: int
    statuses: Mapping[str, int]
    hindsight: int
    """Forecasts in hindsight, whatever their status."""
    skipped: Mapping[str, int]
    """Forecasts that could not be made, by reason."""
    models: Mapping[int, int]
    """Ticks by the model that they asked."""
    trained: tuple[int, ...]
    """Models that were trained on the way."""
    assumed: float
    """Share of the values looked at that were landed long after they were there to be read."""
    known_after: str
    """How long after their timestamps these count as known."""
    failures: tuple[Failure, ...]
    seconds: float
    training_seconds: float


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was written so far."""

    ticks: int = 0
    forecasts: int = 0
    rows: int = 0
    attention_rows: int = 0
    accuracy_rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    hindsight: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    models: Counter[int] = field(default_factory=Counter)
    elsewhere: int = 0
    """Ticks that somebody else did meanwhile."""
    values: int = 0
    assumed: int = 0
    trained: list[int] = field(default_factory=list)
    training_seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """Ticks that were come to an end with, whoever did them."""
        return self.ticks + self.elsewhere + sum(failure.ticks for failure in self.failures)

    def add(self, reports: Iterable[TickReport], accuracy_rows: int) -> None:
        """Count what one transaction wrote."""
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


def report_on(
    dataset: str,
    wanted: BackfillRequest,
    found: Plan,
    tally: Tally,
    *,
    known_after: str,
    seconds: float,
) -> BackfillReport:
    """Say what was done in so many seconds."""
    return BackfillReport(
        dataset=dataset,
        since=wanted.since,
        until=wanted.until,
        asked=found.asked,
        ticks=tally.ticks,
        in_service=found.in_service,
        done_before=found.done_before + tally.elsewhere,
        failed_before=found.failed_before,
        left=found.ticks - tally.ended,
        forecasts=tally.forecasts,
        rows=tally.rows,
        attention_rows=tally.attention_rows,
        accuracy_rows=tally.accuracy_rows,
        statuses=dict(sorted(tally.statuses.items())),
        hindsight=tally.hindsight,
        skipped=dict(sorted(tally.skipped.items())),
        models=dict(sorted(tally.models.items())),
        trained=tuple(tally.trained),
        assumed=tally.assumed / max(1, tally.values),
        known_after=known_after,
        failures=tuple(tally.failures),
        seconds=seconds,
        training_seconds=tally.training_seconds,
    )
