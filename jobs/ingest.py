"""Ingest: land the rows of a file, the same way as those of a source query."""

from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import polars as pl
from sqlalchemy import Engine

from forecaster import intake
from forecaster.config import DatasetConfig
from forecaster.errors import DataError
from forecaster.store import observations
from forecaster.store.engine import writing
from jobs.pull import columns_of, newest_of
from jobs.reports import IngestReport

Format = Literal["csv", "parquet", "ndjson"]

FORMATS: tuple[Format, ...] = get_args(Format)
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}


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
    and something else, is one series: `only_series`, or else called like the dataset. Landing a
    file twice changes nothing; a changed value is kept as a correction. DataError when the file
    cannot be read.
    """
    found = read(source, file_format or format_of(source), dataset.series_columns)
    raw = _with_key(found, columns_of(dataset), only_series or dataset.name)
    taken = intake.normalize(raw, columns_of(dataset), timezone=dataset.timezone)
    with writing(engine) as conn:
        counts = observations.land(conn, dataset.name, taken.observations, recorded_at=now)
    first = taken.observations["timestamp"].min()
    return IngestReport(
        dataset=dataset.name,
        rows=raw.height,
        new=counts.new,
        corrected=counts.corrected,
        unchanged=counts.unchanged,
        rejected=taken.rejected,
        examples=taken.examples,
        duplicates=taken.duplicates,
        conflicting=taken.conflicting,
        first=first if isinstance(first, datetime) else None,
        last=newest_of(taken.observations),
    )


def _with_key(rows: pl.DataFrame, columns: intake.Columns, name: str) -> pl.DataFrame:
    """Complete rows that hold timestamps and values of one series, and nothing else."""
    usual = intake.Columns()
    others = [column for column in rows.columns if column != columns.timestamp]
    if rows.width != 2 or len(others) != 1 or columns.series != usual.series:
        return rows
    if others[0] in columns.series or columns.value not in (usual.value, others[0]):
        return rows
    key = pl.lit(name).alias(columns.series[0])
    return rows.select(key, columns.timestamp, pl.col(others[0]).alias(columns.value))


def format_of(source: Path | BinaryIO) -> Format:
    """Return the format that the name of the file tells; DataError when it tells none."""
    suffix = source.suffix.lower() if isinstance(source, Path) else ""
    found = _SUFFIXES.get(suffix)
    if found is None:
        raise DataError(
            f"the format of {_name(source)} must be known, found {suffix or 'no suffix'}",
            hint=f"pass --format {'|'.join(FORMATS)}",
        )
    return found


def read(
    source: Path | BinaryIO, file_format: Format, series_columns: tuple[str, ...]
) -> pl.DataFrame:
    """Return the rows of a file as they are.

    Keys stay text, so that 007 is not 7; text instants stay text, so that intake reads them with
    their offset or in the declared zone.
    """
    name = _name(source)
    try:
        content = source.read_bytes() if isinstance(source, Path) else source.read()
        return _decode(content, file_format, series_columns)
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{name} must have rows, found none") from error
    except OSError as error:
        raise DataError(
            f"{name} must be a readable file, found: {error.strerror or error}",
            hint="check the path and its permissions",
        ) from error
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{name} must be {file_format}, found: {reason}",
            hint=f"pass --format {'|'.join(FORMATS)}",
        ) from error


def _decode(content: bytes, file_format: Format, series_columns: tuple[str, ...]) -> pl.DataFrame:
    match file_format:
        case "csv":
            keys = dict.fromkeys(series_columns, pl.String())
            return pl.read_csv(content, schema_overrides=keys, infer_schema_length=None)
        case "parquet":
            return pl.read_parquet(content)
        case "ndjson":
            return pl.read_ndjson(content, infer_schema_length=None)


def _name(source: Path | BinaryIO) -> str:
    return str(source) if isinstance(source, Path) else "standard input"
