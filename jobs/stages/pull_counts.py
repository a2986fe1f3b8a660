"""What became of the rows of a pull, slice by slice."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from forecaster.config.settings import DatasetConfig
from forecaster.ingestion.losses import Losses
from forecaster.ingestion.normalize import NormalizedRows
from forecaster.ingestion.remedies import ReadRows
from forecaster.store.observations.observations import IngestResult


@dataclass(slots=True, kw_only=True)
class PullCounts:
    """What became of the rows of all slices."""

    seen: datetime | None
    rows: int = 0
    outside: int = 0
    duplicates: int = 0
    conflicting: int = 0
    late: int = 0
    kept: int = 0
    lost: Losses = field(default_factory=Losses)
    landed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    newest: datetime | None = None

    def add(self, rows: pl.DataFrame, taken: NormalizedRows, frame: pl.DataFrame) -> None:
        """Count rows that were read, of which `frame` lies within what was asked for."""
        self.rows += rows.height
        self.outside += taken.observations.height - frame.height
        self.duplicates += taken.duplicates
        self.conflicting += taken.conflicting
        self.kept += taken.observations.height
        self.lost += taken.lost
        self.rejected.update(taken.rejected)
        self.examples = {**taken.examples, **self.examples}
        self.newest = newest(self.newest, newest_of(frame))

    def batch(self, dataset: DatasetConfig) -> ReadRows:
        """Return the counts of the rows so far."""
        return ReadRows(
            name=f"a pull of {dataset.name}",
            rows=self.rows,
            kept=self.kept,
            lost=self.lost,
            declared=dataset.timestamp_format,
        )

    def land(self, landing: IngestResult) -> None:
        """Count what a landing changed."""
        if self.seen is not None:  # rows of a first pull are history, not late
            self.late += landing.added.filter(pl.col("timestamp") <= self.seen).height
        for name in ("new", "corrected", "unchanged"):
            self.landed[name] += getattr(landing, name)


def newest_of(frame: pl.DataFrame) -> datetime | None:
    """Return the last instant of OBSERVATIONS; None when there is none."""
    last = frame["timestamp"].max()
    return last if isinstance(last, datetime) else None


def newest(*instants: datetime | None) -> datetime | None:
    """Return the latest of some instants; None where there is none."""
    return max((instant for instant in instants if instant is not None), default=None)
