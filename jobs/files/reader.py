"""Files as rows: CSV, Parquet and NDJSON, from a path or a stream, some rows at a time."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import polars as pl

from forecaster.errors import ConfigError, DataError
from forecaster.ingestion.malformed import MalformedRows
from forecaster.ingestion.series_keys import key_text
from jobs.files import json_lines
from jobs.files.csv_text import scanned
from jobs.files.layout import Dialect

Format = Literal["csv", "parquet", "ndjson"]

FORMATS: tuple[Format, ...] = get_args(Format)
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}


USUAL = Dialect()


def format_of(source: Path | BinaryIO) -> Format:
    """Return the format by the file's suffix; DataError if that is unknown."""
    suffix = source.suffix.lower() if isinstance(source, Path) else ""
    file_format = _SUFFIXES.get(suffix)
    if file_format is None:
        raise DataError(
            f"unknown file format of {name_of(source)}: {suffix or 'no suffix'}",
            hint=f"pass --format {'|'.join(FORMATS)}",
        )
    return file_format


def is_known(path: Path) -> bool:
    """Return whether the file's suffix is known."""
    return path.suffix.lower() in _SUFFIXES


def chosen_format(source: Path | BinaryIO, given: Format | None, dialect: Dialect) -> Format:
    """Return the format of a file; ConfigError if `dialect` has CSV options for another format."""
    file_format = given or format_of(source)
    csv_only = {
        "--separator": dialect.separator,
        "--encoding": dialect.encoding,
        "--columns": dialect.columns,
    }
    options = [option for option, value in csv_only.items() if value]
    if file_format == "csv" or not options:
        return file_format
    raise ConfigError(
        [
            f"{option} is only for csv, found {file_format} in {name_of(source)}"
            for option in options
        ],
        hint=f"omit {', '.join(options)}, or pass --format csv if the file is CSV",
    )


@contextmanager
def on_disk(source: Path | BinaryIO, file_format: Format) -> Iterator[Path]:
    """Yield a file that can be read more than once; DataError for one that cannot be read."""
    with ExitStack() as opened:
        with _errors_reported(name_of(source), file_format):
            path = opened.enter_context(_on_disk(source))
        yield path


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from, and what messages call it."""

    content: Path | BinaryIO
    file_format: Format
    name: str


def read(
    source: Source,
    rows_at_once: int,
    *,
    malformed: MalformedRows,
    keys: Sequence[str] = (),
    dialect: Dialect = USUAL,
) -> Iterator[pl.DataFrame]:
    """Return the rows of a file as they are, at most `rows_at_once` in a frame, one at the least.

    Memory is bounded by that; CSV and Parquet from a stream go through a temporary file. What CSV
    holds stays text: so 007 is not 7, and an instant keeps its offset. Columns that are `keys`
    become text, in which numbers are exact. Lines of CSV with more or fewer cells than the header,
    and lines of NDJSON that hold no object, are in no frame: when the last one has been returned,
    all of them have been added to `malformed`. DataError, which says the
    name of the file, when it cannot be read: frames before the unreadable part have been returned
    by then.
    """
    with _errors_reported(source.name, source.file_format):
        if source.file_format == "ndjson":
            with _opened(source.content) as opened:
                yield from json_lines.frames(opened, rows_at_once, keys, malformed)
            return
        with (
            _on_disk(source.content) as path,
            _scanned(source, path, dialect, malformed) as frame,
        ):
            empty = frame.collect_schema().to_frame()
            if empty.width == 0:
                raise pl.exceptions.NoDataError
            parts = frame.collect_batches(chunk_size=rows_at_once, maintain_order=True)
            for part in chain([empty], parts):
                known = (key_text(part[key]) for key in keys if key in part.columns)
                yield part.with_columns(known)


@contextmanager
def _scanned(
    source: Source, path: Path, dialect: Dialect, malformed: MalformedRows
) -> Iterator[pl.LazyFrame]:
    if source.file_format == "parquet":
        yield pl.scan_parquet(path)
        return
    with scanned(path, dialect, source.name, malformed) as cells:
        yield cells


def _opened(source: Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


@contextmanager
def _on_disk(source: Path | BinaryIO) -> Iterator[Path]:
    if isinstance(source, Path):
        with source.open("rb"):  # raises OSError early, apart from errors of parsing
            yield source
        return
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(source, kept)
        kept.flush()
        yield Path(kept.name)


@contextmanager
def _errors_reported(name: str, file_format: Format) -> Iterator[None]:
    """Turn errors of reading a file into DataError."""
    try:
        yield
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{name} has no rows") from error
    except OSError as error:
        raise DataError(
            f"cannot read {name}: {error.strerror or error}",
            hint="check the path and its permissions",
        ) from error
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"cannot read {name} as {file_format}: {reason}",
            hint=f"pass --format {'|'.join(FORMATS)}",
        ) from error


def name_of(source: Path | BinaryIO) -> str:
    """Return the name of a file in messages."""
    return str(source) if isinstance(source, Path) else "standard input"
