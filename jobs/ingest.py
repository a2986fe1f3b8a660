"""Ingest: land the rows of a file, the same way as those of a source query."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import polars as pl
from sqlalchemy import Engine

from forecaster import intake
from forecaster.config import DatasetConfig
from forecaster.frames import empty
from forecaster.intake import Intake
from forecaster.store import datasets, observations
from forecaster.store.engine import writing
from forecaster.store.observations import Landing
from forecaster.store.probes import CELLS
from jobs import files
from jobs.files import Format
from jobs.pull import ROWS_AT_ONCE, columns_of
from jobs.reports import IngestReport

_KEY = ["series_id", "timestamp"]


def run(
    engine: Engine,
    dataset: DatasetConfig,
    source: Path | BinaryIO,
    *,
    file_format: Format | None = None,
    only_series: str | None = None,
    now: datetime,
) -> IngestReport:
    """Land the rows of `source` in `dataset`; its columns and zone are those of the dataset.

    The format follows the name of the file where none is given. A file of two columns, timestamps
    and something else, is one series: `only_series`, or else called like the dataset. Some rows
    are read and landed at a time, but a file is one batch: values that contradict one another
    become their mean, however far apart they stand (but for what docs/data.md says of parts).
    Landing a file twice changes nothing; a value that differs from an earlier landing is kept as a
    correction.

    DataError when the file cannot be read; rows before the unreadable part are landed by then.
    """
    columns = columns_of(dataset)
    batch = _Batch(engine=engine, dataset=dataset.name, now=now)
    known = file_format or files.format_of(source)
    for found in files.read(source, known, ROWS_AT_ONCE, keys=columns.series):
        raw = with_key(found, columns, only_series or dataset.name)
        batch.land(raw.height, intake.normalize(raw, columns, timezone=dataset.timezone))
    return batch.report()


@dataclass(slots=True, kw_only=True)
class _Batch:
    """What has become of the rows of one file so far."""

    engine: Engine
    dataset: str
    now: datetime
    counts: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    ends: list[datetime] = field(default_factory=list)
    instants: list[datetime] = field(default_factory=list)
    """When its versions were recorded: what differs from one of these is no correction."""
    contested: pl.DataFrame = field(default_factory=lambda: empty(CELLS))
    """All distinct rows of the keys that have several."""

    def land(self, rows: int, taken: Intake) -> None:
        """Land some more rows, in a transaction of their own."""
        with writing(self.engine) as conn:
            landing = observations.land(
                conn, self.dataset, taken.observations, recorded_at=self.now, batch=self.instants
            )
            among = datasets.with_ids(conn, self.dataset, taken.contested)
            settled = self._settle(landing.tied, among)
            observations.settle(conn, self.dataset, settled)
        if landing.recorded_at is not None and landing.recorded_at != landing.before:
            self.instants.append(landing.recorded_at)
        self._count(rows, taken, landing)

    def _settle(self, tied: pl.DataFrame, among: pl.DataFrame) -> pl.DataFrame:
        """Return the means of rows that contradict earlier ones, and remember all that was said.

        `among` are rows that contradict one another in the present part of the file.
        """
        earlier = tied.join(self.contested, on=_KEY, how="anti").select(
            *_KEY, value=pl.col("value_stored")
        )
        alone = tied.join(among, on=_KEY, how="anti").select(CELLS.names())
        self.contested = pl.concat([self.contested, among, earlier, alone]).unique()
        means = intake.settle(self.contested.join(tied, on=_KEY, how="semi"))
        return means.join(tied.select(*_KEY, "recorded_at"), on=_KEY)

    def _count(self, rows: int, taken: Intake, landing: Landing) -> None:
        tied = landing.tied.height
        self.counts += Counter(
            rows=rows,
            new=landing.new,
            corrected=landing.corrected,
            unchanged=landing.unchanged - tied,
            duplicates=taken.duplicates,
            conflicting=taken.conflicting + tied,
        )
        self.rejected += Counter(taken.rejected)
        self.examples = {**taken.examples, **self.examples}
        stamps = taken.observations["timestamp"]
        self.ends += [end for end in (stamps.min(), stamps.max()) if isinstance(end, datetime)]

    def report(self) -> IngestReport:
        """Say what the whole file brought."""
        return IngestReport(
            dataset=self.dataset,
            rows=self.counts["rows"],
            new=self.counts["new"],
            corrected=self.counts["corrected"],
            unchanged=self.counts["unchanged"],
            rejected=dict(sorted(self.rejected.items())),
            examples=dict(sorted(self.examples.items())),
            duplicates=self.counts["duplicates"],
            conflicting=self.counts["conflicting"],
            first=min(self.ends, default=None),
            last=max(self.ends, default=None),
        )


def with_key(rows: pl.DataFrame, columns: intake.Columns, name: str) -> pl.DataFrame:
    """Complete rows that hold timestamps and values of one series, and nothing else."""
    usual = intake.Columns()
    others = [column for column in rows.columns if column != columns.timestamp]
    if rows.width != 2 or len(others) != 1 or columns.series != usual.series:
        return rows
    if others[0] in columns.series or columns.value not in (usual.value, others[0]):
        return rows
    key = pl.lit(name).alias(columns.series[0])
    return rows.select(key, columns.timestamp, pl.col(others[0]).alias(columns.value))
