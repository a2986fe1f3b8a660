"""Files as rows: CSV, Parquet and NDJSON, from a path or a stream, some rows at a time."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import polars as pl

from forecaster.errors import ConfigError, DataError
from forecaster.ingestion.series_keys import key_text
from jobs.files.csv_text import scanned
from jobs.files.exact_keys import with_exact_keys
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
    """Return the format that the name of the file tells; DataError when it tells none."""
    suffix = source.suffix.lower() if isinstance(source, Path) else ""
    found = _SUFFIXES.get(suffix)
    if found is None:
        raise DataError(
            f"the format of {name_of(source)} must be known, found {suffix or 'no suffix'}",
            hint=f"pass --format {'|'.join(FORMATS)}",
        )
    return found


def is_known(path: Path) -> bool:
    """Tell whether the name of a file tells its format."""
    return path.suffix.lower() in _SUFFIXES


def chosen_format(source: Path | BinaryIO, given: Format | None, dialect: Dialect) -> Format:
    """Return the format of a file; ConfigError where `dialect` says of it what only CSV has."""
    found = given or format_of(source)
    said = {
        "--separator": dialect.separator,
        "--encoding": dialect.encoding,
        "--columns": dialect.columns,
    }
    options = [option for option, value in said.items() if value]
    if found == "csv" or not options:
        return found
    raise ConfigError(
        [f"{option} is for csv, found {found} in {name_of(source)}" for option in options],
        hint=f"leave out {', '.join(options)}, or pass --format csv if that is what it is",
    )


@contextmanager
def on_disk(source: Path | BinaryIO, file_format: Format) -> Iterator[Path]:
    """Give a file that can be read more than once; DataError for one that cannot be read."""
    with ExitStack() as opened:
        with _told(name_of(source), file_format):
            path = opened.enter_context(_on_disk(source))
        yield path


def read(
    source: Path | BinaryIO,
    file_format: Format,
    rows_at_once: int,
    *,
    keys: Sequence[str] = (),
    name: str | None = None,
    dialect: Dialect = USUAL,
) -> Iterator[pl.DataFrame]:
    """Return the rows of a file as they are, at most `rows_at_once` in a frame, one at the least.

    Memory is bounded by that; CSV and Parquet from a stream go through a temporary file. What CSV
    holds stays text: so 007 is not 7, and an instant keeps its offset. Columns that are `keys`
    become text, in which numbers are exact. DataError, which says `name`, when the file cannot be
    read: frames before the unreadable part have been returned by then.
    """
    name = name or name_of(source)
    with _told(name, file_format):
        if file_format == "ndjson":
            yield from _lines(source, rows_at_once, keys)
            return
        with _on_disk(source) as path, _scanned(path, file_format, dialect, name) as found:
            empty = found.collect_schema().to_frame()
            if empty.width == 0:
                raise pl.exceptions.NoDataError
            parts = found.collect_batches(chunk_size=rows_at_once, maintain_order=True)
            for part in chain([empty], parts):
                known = (key_text(part[key]) for key in keys if key in part.columns)
                yield part.with_columns(known)


@contextmanager
def _scanned(
    path: Path, file_format: Format, dialect: Dialect, name: str
) -> Iterator[pl.LazyFrame]:
    if file_format == "parquet":
        yield pl.scan_parquet(path)
        return
    with scanned(path, dialect, name) as found:
        yield found


@contextmanager
def _on_disk(source: Path | BinaryIO) -> Iterator[Path]:
    if isinstance(source, Path):
        with source.open("rb"):  # a file that cannot be read is told apart from an unreadable one
            yield source
        return
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(source, kept)
        kept.flush()
        yield Path(kept.name)


def _lines(
    source: Path | BinaryIO, rows_at_once: int, keys: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Read each part with types of its own; a column that one of them lacks is null there."""
    if isinstance(source, Path):
        with source.open("rb") as opened:
            yield from _lines(opened, rows_at_once, keys)
        return
    columns: dict[str, None] = {}
    while lines := list(islice(source, rows_at_once)):
        read = pl.read_ndjson(b"".join(lines), infer_schema_length=None)
        part = with_exact_keys(read, lines, keys)
        columns |= dict.fromkeys(part.columns)
        missing = [pl.lit(None).alias(name) for name in columns if name not in part.columns]
        yield part.with_columns(missing)
    if not columns:
        raise pl.exceptions.NoDataError


@contextmanager
def _told(name: str, file_format: Format) -> Iterator[None]:
    """Say what is wrong with a file in our own words."""
    try:
        yield
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


def name_of(source: Path | BinaryIO) -> str:
    """Return how messages call a file."""
    return str(source) if isinstance(source, Path) else "standard input"
