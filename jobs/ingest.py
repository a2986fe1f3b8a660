"""Ingest the rows of a file, the same way as those of a source query."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import polars as pl
from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.ingestion import normalize, remedies
from forecaster.ingestion.malformed import MalformedRows
from forecaster.ingestion.normalize import NormalizedRows
from forecaster.schemas import empty
from forecaster.store.connection.engine import writing
from forecaster.store.observations import observations
from forecaster.store.observations.lookup import CELLS
from forecaster.store.state import datasets
from jobs.execution.reports import IngestReport
from jobs.files import reader
from jobs.files.hints import hints_as_options
from jobs.files.layout import Dialect
from jobs.files.one_series import with_key
from jobs.files.reader import Format, Source
from jobs.stages.pull import ROWS_AT_ONCE, columns_of, normalized
from jobs.stages.row_counts import RowCounts

_KEY = ["series_id", "timestamp"]


def run(
    engine: Engine,
    dataset: DatasetConfig,
    source: Path | BinaryIO,
    *,
    file_format: Format | None = None,
    dialect: Dialect = reader.USUAL,
    now: datetime,
) -> IngestReport:
    """Ingest the rows of `source` into `dataset`; its columns and zone are those of the dataset.

    The format follows the name of the file where none is given. A file of two columns, timestamps
    and something else, is one series, named by `dialect` or else like the dataset. Rows are
    ingested in parts, but a file is one batch: values of the same key that differ become their
    mean, however far apart they are (exceptions: docs/reference/data.md). Ingesting a file twice
    changes nothing; a value that differs from an earlier ingestion is stored as a correction.

    ConfigError for a `dialect` of CSV where the file is none.
    DataError, and nothing is ingested, when the file cannot be read, when more than `max_rejected`
    of its rows cannot be used, or none of them, and when no row has or retracts a value.
    """
    batch = _Batch(engine=engine, dataset=dataset.name, now=now)
    wanted = reader.chosen_format(source, file_format, dialect)
    with reader.on_disk(source, wanted) as path:
        file = _File(
            source=Source(content=path, file_format=wanted, name=reader.name_of(source)),
            dataset=dataset,
            dialect=dialect,
        )
        for rows, taken in file.accepted():
            batch.ingest(rows, taken)
    batch.require_any(reader.name_of(source))
    return batch.report()


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file, and the dataset that it is read for."""

    source: Source
    dataset: DatasetConfig
    dialect: Dialect

    def accepted(self) -> Iterator[tuple[int, NormalizedRows]]:
        """Yield the rows of each part, normalized, unless too many of all rows are rejected.

        A file of more than one part is read twice for that.
        """
        counts = RowCounts()
        parts: list[tuple[int, NormalizedRows]] | None = []
        for rows, taken in self._parts():
            counts.add(rows, taken, taken.observations)
            is_long = parts is None or counts.rows > ROWS_AT_ONCE
            parts = None if is_long else [*(parts or ()), (rows, taken)]
        with hints_as_options():
            batch = counts.batch(self.source.name, self.dataset.timestamp_format)
            remedies.require_file(batch, self.dataset.max_rejected)
        yield from self._parts() if parts is None else parts

    def _parts(self) -> Iterator[tuple[int, NormalizedRows]]:
        columns, malformed = columns_of(self.dataset), MalformedRows()
        parts = reader.read(
            self.source,
            ROWS_AT_ONCE,
            malformed=malformed,
            keys=columns.series,
            dialect=self.dialect,
        )
        for part in parts:
            raw = with_key(part, columns, self.dialect, self.dataset.name)
            with hints_as_options(self.source.name):
                taken = normalized(raw, self.dataset)
            yield raw.height, taken
        yield malformed.rows, malformed.rejected()


@dataclass(slots=True, kw_only=True)
class _Batch:
    """The state of ingesting one file."""

    engine: Engine
    dataset: str
    now: datetime
    counts: RowCounts = field(default_factory=RowCounts)
    without: int = 0
    """Observations without a value where none was known."""
    instants: list[datetime] = field(default_factory=list)
    """When its versions were recorded: a value that differs from one of these is no correction."""
    contested: pl.DataFrame = field(default_factory=lambda: empty(CELLS))
    """All distinct rows of the keys that have several."""

    def ingest(self, rows: int, taken: NormalizedRows) -> None:
        """Ingest some more rows, in a transaction of their own."""
        with writing(self.engine) as conn:
            result = observations.ingest(
                conn, self.dataset, taken.observations, recorded_at=self.now, batch=self.instants
            )
            among = datasets.with_ids(conn, self.dataset, taken.contested)
            settled = self._settle(result.tied, among)
            observations.settle(conn, self.dataset, settled)
        if result.recorded_at is not None and result.recorded_at != result.before:
            self.instants.append(result.recorded_at)
        self.without += result.without
        self.counts.add(rows, taken, taken.observations)
        self.counts.add_result(result)
        self.counts.ingested["unchanged"] -= result.tied.height
        self.counts.conflicting += result.tied.height

    def _settle(self, tied: pl.DataFrame, among: pl.DataFrame) -> pl.DataFrame:
        """Return the means of rows that contradict earlier ones; keep all distinct values.

        `among` are rows that contradict one another in the present part of the file.
        """
        earlier = tied.join(self.contested, on=_KEY, how="anti").select(
            *_KEY, value=pl.col("value_stored")
        )
        alone = tied.join(among, on=_KEY, how="anti").select(CELLS.names())
        self.contested = pl.concat([self.contested, among, earlier, alone]).unique()
        means = normalize.settle(self.contested.join(tied, on=_KEY, how="semi"))
        return means.join(tied.select(*_KEY, "recorded_at"), on=_KEY)

    def require_any(self, name: str) -> None:
        """Raise DataError for a file without information: no values, and none was known."""
        if self.without and self.without == self.counts.kept:
            raise remedies.no_values(name, self.counts.rows, self.counts.rejected.total())

    def report(self) -> IngestReport:
        """Report what was ingested from the file."""
        counts = self.counts
        return IngestReport(
            dataset=self.dataset,
            rows=counts.rows,
            new=counts.ingested["new"],
            corrected=counts.ingested["corrected"],
            unchanged=counts.ingested["unchanged"],
            rejected=dict(sorted((+counts.rejected).items())),
            examples=dict(sorted(counts.examples.items())),
            duplicates=counts.duplicates,
            conflicting=counts.conflicting,
            first=counts.oldest,
            last=counts.newest,
        )
