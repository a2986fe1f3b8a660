"""Counts of the rows of a pull or a file, part by part."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from forecaster.ingestion.losses import Losses
from forecaster.ingestion.normalize import NormalizedRows
from forecaster.ingestion.remedies import ReadRows
from forecaster.store.observations.observations import IngestResult


@dataclass(slots=True, kw_only=True)
class RowCounts:
    """Counts of the rows of all parts so far."""

    seen: datetime | None = None
    """The newest instant of earlier pulls; None counts no row as late."""
    recent_from: datetime | None = None
    """Rows before it are not new, and are in no `batch`."""
    rows: int = 0
    outside: int = 0
    duplicates: int = 0
    conflicting: int = 0
    late: int = 0
    kept: int = 0
    kept_recently: int = 0
    lost: Losses = field(default_factory=Losses)
    ingested: Counter[str] = field(default_factory=Counter)
    """New, corrected and unchanged rows."""
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, rows: int, taken: NormalizedRows, frame: pl.DataFrame) -> None:
        """Count rows that were read, of which `frame` lies within the range of the read."""
        self.rows += rows
        self.outside += taken.observations.height - frame.height
        self.duplicates += taken.duplicates
        self.conflicting += taken.conflicting
        self.kept += taken.observations.height
        stamps = taken.observations["timestamp"]
        if self.recent_from is not None:
            self.kept_recently += len(stamps.filter(stamps >= self.recent_from))
        self.lost += taken.lost
        self.rejected.update(taken.rejected)
        self.examples = {**taken.examples, **self.examples}
        first, last = frame["timestamp"].min(), frame["timestamp"].max()
        if isinstance(first, datetime) and isinstance(last, datetime):
            self.oldest, self.newest = min(self.oldest or first, first), newest(self.newest, last)

    def batch(self, name: str, declared: str | None) -> ReadRows:
        """Return the counts of the rows so far; `declared` is the format of timestamps."""
        rows = self.kept_recently + self.lost.rows if self.recent_from else self.rows
        return ReadRows(name=name, rows=rows, kept=self.kept, lost=self.lost, declared=declared)

    def add_result(self, result: IngestResult) -> None:
        """Count what was ingested."""
        if self.seen is not None:  # rows of a first pull are history, not late
            self.late += result.added.filter(pl.col("timestamp") <= self.seen).height
        for name in ("new", "corrected", "unchanged"):
            self.ingested[name] += getattr(result, name)


def newest(*instants: datetime | None) -> datetime | None:
    """Return the latest of some instants; None where there is none."""
    return max((instant for instant in instants if instant is not None), default=None)
