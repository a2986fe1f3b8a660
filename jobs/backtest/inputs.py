"""What a backtest reads: the rows of a file, or the observations of a dataset."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import polars as pl
from sqlalchemy import Engine

from forecaster.checks.findings import Finding, note
from forecaster.checks.rejected_rows import rejections
from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError, InsufficientHistory
from forecaster.ingestion import normalize, remedies
from forecaster.ingestion.malformed import MalformedRows
from forecaster.ingestion.normalize import Columns, NormalizedRows
from forecaster.ingestion.remedies import ReadRows
from forecaster.schemas import OBSERVATIONS, empty
from forecaster.store.connection.engine import reading
from forecaster.store.observations import observations
from forecaster.store.state import datasets
from forecaster.times.durations import Step
from forecaster.times.schedules import Every
from jobs.files import reader
from jobs.files.hints import hints_as_options
from jobs.files.layout import Dialect
from jobs.files.one_series import with_key
from jobs.files.reader import Format, Source
from jobs.stages.pull import ROWS_AT_ONCE

SPLIT, TRAIN, TEST = "split", "train", "test"
EXAMPLES = 5
"""Examples in an error message."""
_FOREVER = timedelta(days=73_050)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """OBSERVATIONS that the rows themselves mark as train and test."""

    train: pl.DataFrame
    test: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a backtest reads; `findings` are reported before it starts."""

    name: str
    observations: pl.DataFrame
    split: Split | None = None
    findings: Sequence[Finding] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Rows that cannot be used, by reason, and one of each in `examples`."""
    examples: Mapping[str, str] = field(default_factory=dict)
    duplicates: int = 0
    """Rows that repeat another one; `conflicting` ones contradict another, and were averaged."""
    conflicting: int = 0
    known: datetime | None = None
    """Up to when the rows are complete; None if the data are final."""

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The first and the last instant."""
        stamps = self.observations["timestamp"]
        first, last = stamps.min(), stamps.max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        return first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """How the rows of a file are to be read."""

    columns: Columns = field(default_factory=Columns)
    timezone: str | None = None
    file_format: Format | None = None
    timestamp_format: str | None = None
    decimal: str | None = None
    max_rejected: float = 0.05
    dialect: Dialect = reader.USUAL
    may_split: bool = True
    """Whether a column `split` splits the rows; otherwise it is ignored."""


def of_file(source: Path | BinaryIO, mapped: Mapped) -> Rows:
    """Read a file, with its column `split` if it has one. DataError if no row can be used."""
    name = str(source) if isinstance(source, Path) else "standard input"
    malformed = MalformedRows()
    raw = pl.concat(_parts(source, mapped, malformed), how="diagonal_relaxed")
    if mapped.may_split and SPLIT in raw.columns and SPLIT not in _named(mapped.columns):
        marks = _marks(raw[SPLIT], name)
        train, test = (_taken(raw.filter(marks == mark), mapped, name) for mark in (TRAIN, TEST))
        split = Split(train=train.observations, test=test.observations)
        taken = _joined(train, test)
    else:
        split, taken = None, _taken(raw, mapped, name)
    taken, rows = _joined(taken, malformed.rejected()), raw.height + malformed.rows
    kept, declared = taken.observations.height, mapped.timestamp_format
    with hints_as_options():
        batch = ReadRows(name=name, rows=rows, kept=kept, lost=taken.lost, declared=declared)
        remedies.require_file(batch, mapped.max_rejected)
    usable, findings = taken.observations, list(_findings(name, rows, taken))
    if usable.is_empty():
        reasons = "; ".join(finding.message for finding in findings) or "none"
        raise DataError(
            f"{name} has no usable values: {reasons}",
            hint="set other columns with --timestamp-column or --value-column",
        )
    return Rows(
        name=name,
        observations=usable,
        split=split,
        findings=findings,
        rejected=taken.rejected,
        examples=taken.examples,
        duplicates=taken.duplicates,
        conflicting=taken.conflicting,
    )


def of_dataset(engine: Engine, dataset: DatasetConfig) -> Rows:
    """Read the observations of a dataset, its latest `history`."""
    with reading(engine) as conn:
        state = datasets.ingest_state(conn, dataset.name)
        newest = state.newest_observation
        rows = (
            empty(OBSERVATIONS)
            if newest is None
            else observations.read(conn, dataset.name, since=newest - dataset.history)
        )
    if rows.is_empty():
        raise InsufficientHistory(
            f"dataset {dataset.name} has no observations",
            hint="run `forecaster ingest` or `forecaster forecast` first",
        )
    known = None if state.landed_at is None else state.landed_at - dataset.delay
    return Rows(name=dataset.name, observations=rows, known=known)


def settings_of_file(rows: Rows, step: Step, steps: int, timezone: str | None) -> DatasetConfig:
    """Return the dataset settings of a file: step, horizon and time zone."""
    return DatasetConfig(
        name=rows.name,
        step=step,
        prediction_length=steps,
        timezone=timezone,
        forecast_schedule=Every(timedelta(hours=1)),
        retrain_schedule=Every(timedelta(days=1)),
        history=_FOREVER,
        late_data=timedelta(0),
    )


def _parts(
    source: Path | BinaryIO, mapped: Mapped, malformed: MalformedRows
) -> Iterator[pl.DataFrame]:
    columns = mapped.columns
    only, wanted = source.stem if isinstance(source, Path) else "series", _named(columns)
    file = Source(
        content=source,
        file_format=reader.chosen_format(source, mapped.file_format, mapped.dialect),
        name=reader.name_of(source),
    )
    parts = reader.read(
        file, ROWS_AT_ONCE, malformed=malformed, keys=columns.series, dialect=mapped.dialect
    )
    for part in parts:
        marks = part.select(SPLIT) if SPLIT in part.columns else pl.DataFrame()
        plain = with_key(part.drop(marks.columns), columns, mapped.dialect, only)
        if set(wanted) <= set(plain.columns):
            plain = plain.select(list(dict.fromkeys(wanted)))
        yield plain.hstack(marks)


def _named(columns: Columns) -> tuple[str, ...]:
    return (*columns.series, columns.timestamp, columns.value)


def _marks(column: pl.Series, name: str) -> pl.Series:
    marks = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    counts = marks.fill_null("nothing").value_counts(sort=True)
    others = [f"{mark!r} ({count} rows)" for mark, count in counts.iter_rows()
              if mark not in (TRAIN, TEST)]  # fmt: skip
    if others:
        raise DataError(
            f"column split of {name} must only have the values train and test, "
            f"found {', '.join(others[:EXAMPLES])}",
            hint="rename the column if it is not a train/test split",
        )
    missing = {TRAIN, TEST} - set(marks)
    if missing:
        raise DataError(
            f"column split of {name} must have both train and test, found no {min(missing)}",
            hint="drop the column to test on the latest rows",
        )
    return marks


def _taken(raw: pl.DataFrame, mapped: Mapped, name: str) -> NormalizedRows:
    with hints_as_options(name):
        taken = normalize.normalize(
            raw,
            mapped.columns,
            timezone=mapped.timezone,
            timestamp_format=mapped.timestamp_format,
            decimal=mapped.decimal,
        )
    return replace(taken, observations=taken.observations.drop_nulls("value"))


def _joined(one: NormalizedRows, other: NormalizedRows) -> NormalizedRows:
    """Return the rows of two parts of a file, and the counts of both."""
    return NormalizedRows(
        observations=pl.concat([one.observations, other.observations]).sort(
            "series_id", "timestamp"
        ),
        rejected=dict(sorted((Counter(one.rejected) + Counter(other.rejected)).items())),
        examples={**other.examples, **one.examples},
        duplicates=one.duplicates + other.duplicates,
        conflicting=one.conflicting + other.conflicting,
        lost=one.lost + other.lost,
        contested=pl.concat([one.contested, other.contested]),
    )


def _findings(name: str, rows: int, taken: NormalizedRows) -> Iterator[Finding]:
    yield from rejections(name, rows, taken)
    if taken.duplicates:
        yield note(name, f"duplicate rows: {taken.duplicates}")
    if taken.conflicting:
        what = "conflicting rows of the same series and timestamp, averaged"
        yield note(name, f"{what}: {taken.conflicting}")
