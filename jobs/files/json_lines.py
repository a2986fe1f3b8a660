"""NDJSON as rows, some lines at a time; lines that hold no JSON object are counted, not read."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO, NoReturn

import polars as pl

from forecaster.ingestion.malformed import MalformedRows
from jobs.files.exact_keys import with_exact_keys

_SHOWN = 40
"""Characters of a line in a message."""


def frames(
    source: BinaryIO, rows_at_once: int, keys: Sequence[str], malformed: MalformedRows
) -> Iterator[pl.DataFrame]:
    """Yield at most `rows_at_once` rows in a frame; a column that a part lacks is null there.

    Each part has types of its own; `keys` become text. Lines that hold no object, such as a last
    one that is cut off, or NaN, which JSON lacks, are added to `malformed`. Raises a PolarsError
    where no line of the first part holds an object, and NoDataError without any line.
    """
    columns: dict[str, None] = {}
    while lines := list(islice(source, rows_at_once)):
        read, lines = _parsed(lines, malformed, required=not columns)
        if not lines:
            continue
        part = with_exact_keys(read, lines, keys)
        columns |= dict.fromkeys(part.columns)
        missing = [pl.lit(None).alias(name) for name in columns if name not in part.columns]
        yield part.with_columns(missing)
    if not columns:
        raise pl.exceptions.NoDataError


def _parsed(
    lines: list[bytes], malformed: MalformedRows, *, required: bool
) -> tuple[pl.DataFrame, list[bytes]]:
    """Return the rows of lines, and those lines that are rows."""
    try:
        return pl.read_ndjson(b"".join(lines), infer_schema_length=None), lines
    except pl.exceptions.PolarsError:
        rows = [line for line in lines if _is_object(line)]
    others = [_text(line) for line in lines if line.strip() and not _is_object(line)]
    if required and not rows:
        raise pl.exceptions.ComputeError(
            f"one JSON object is expected on each line, found {others[0][:_SHOWN]}"
        )
    malformed.add(others)
    read = pl.read_ndjson(b"".join(rows), infer_schema_length=None) if rows else pl.DataFrame()
    return read, rows


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line, parse_constant=_refuse), dict)
    except ValueError:
        return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")
