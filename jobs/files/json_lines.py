"""NDJSON as rows, some lines at a time; lines that hold no JSON object are counted, not read."""

import codecs
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
    one that is cut off, or NaN, which JSON lacks, are added to `malformed`; blank ones are not.
    Raises a PolarsError where no line of the first part holds an object, and NoDataError where all
    are blank.
    """
    columns: dict[str, None] = {}
    while block := list(islice(source, rows_at_once)):
        lines = [line.removeprefix(codecs.BOM_UTF8) for line in block if line.strip()]
        rows, read = _parsed(lines, malformed, required=not columns) if lines else ([], None)
        if read is None:
            continue
        part = with_exact_keys(read, rows, keys)
        columns |= dict.fromkeys(part.columns)
        missing = [pl.lit(None).alias(name) for name in columns if name not in part.columns]
        yield part.with_columns(missing)
    if not columns:
        raise pl.exceptions.NoDataError


def _parsed(
    lines: list[bytes], malformed: MalformedRows, *, required: bool
) -> tuple[list[bytes], pl.DataFrame | None]:
    """Return those lines that are rows, and these rows, if any."""
    try:
        return lines, pl.read_ndjson(b"".join(lines), infer_schema_length=None)
    except pl.exceptions.PolarsError:
        rows, others = _split(lines)
        if not others:
            raise
    if required and not rows:
        raise pl.exceptions.ComputeError(
            f"one JSON object is expected on each line, found {others[0][:_SHOWN]}"
        )
    malformed.add(others)
    return rows, pl.read_ndjson(b"".join(rows), infer_schema_length=None) if rows else None


def _split(lines: Sequence[bytes]) -> tuple[list[bytes], list[str]]:
    """Return the lines that hold an object, and the text of the others."""
    rows, others = [], []
    for line in lines:
        if _is_object(line):
            rows.append(line)
        else:
            others.append(_text(line))
    return rows, others


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")
