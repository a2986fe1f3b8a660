"""CSV files as text: detect their encoding, separator and header.

What is ambiguous is an error that names the candidates.
"""

import codecs
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import polars as pl

from forecaster.errors import DataError
from forecaster.ingestion.malformed import MalformedRows
from jobs.files.csv_rows import CsvLayout, first_row, well_formed
from jobs.files.layout import Dialect

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a pipe"}
"""Column separators that are detected, and their names in messages."""

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive or spreadsheet",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_SAMPLE_BYTES = 65_536
_SAMPLE_LINES = 20
_CHUNK_BYTES = 1 << 20
_DATE = re.compile(r"[0-9]{4}[-/.]?[0-9]{2}[-/.]?[0-9]{2}|[0-9]{1,2}[/.-][0-9]{1,2}[/.-][0-9]{2,4}")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?")
_QUOTED = re.compile(r'"[^"]*"')


@contextmanager
def scanned(
    path: Path, dialect: Dialect, name: str, malformed: MalformedRows
) -> Iterator[pl.LazyFrame]:
    """Yield the cells of a file as text, less the lines that are counted as `malformed`.

    DataError if its dialect cannot be detected.
    """
    with _in_utf8(path, dialect, name) as plain:
        layout = _layout(plain, dialect, name)
        with well_formed(plain, layout, malformed) as rows:
            cells = pl.scan_csv(
                rows,
                infer_schema=False,
                separator=layout.separator,
                skip_lines=layout.skipped,
                has_header=layout.header > 0,
                new_columns=list(dialect.columns) or None,
            )
            yield _stripped(cells)


def _layout(plain: Path, dialect: Dialect, name: str) -> CsvLayout:
    _require_lines(plain, name)
    lines = _sample(plain)
    skipped, declared = _before_header(lines)
    rest = lines[skipped:]
    separator = dialect.separator or declared or _separator(rest, name)
    height, cells = first_row(rest, separator)
    width = len(cells)
    if rest and not dialect.columns:
        _require_header(rest[0], separator, name)
    if rest and dialect.columns and len(dialect.columns) != width:
        raise DataError(
            f"{name} must have as many columns as --columns has names ({len(dialect.columns)}), "
            f"found {width}",
            hint="name all of them, or pass another --separator",
        )
    return CsvLayout(
        separator=separator,
        skipped=skipped,
        header=0 if dialect.columns else max(1, height),
        width=width,
        is_last_unnamed=not dialect.columns and bool(cells) and not cells[-1].strip(),
    )


@contextmanager
def _in_utf8(path: Path, dialect: Dialect, name: str) -> Iterator[Path]:
    """Yield the file, or a copy of it in UTF-8."""
    with path.open("rb") as opened:
        head = opened.read(_SAMPLE_BYTES)
    packed = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)
    if packed is not None:
        raise DataError(
            f"{name} must be plain text, found {packed}", hint="decompress or export it first"
        )
    by_mark = next((known for bom, known in _BOMS.items() if head.startswith(bom)), None)
    encoding = by_mark or dialect.encoding
    if encoding is None and b"\0" in head:
        raise DataError(
            f"{name} must be UTF-8 text, found null bytes (UTF-16?)",
            hint="pass --encoding utf-16-le or --encoding utf-16-be",
        )
    if encoding is None or codecs.lookup(encoding).name == "utf-8":
        _require_utf8(path, name)
        yield path
        return
    with tempfile.NamedTemporaryFile() as kept:
        try:
            with (
                path.open(encoding=encoding, newline="") as source,
                Path(kept.name).open("w", encoding="utf-8", newline="") as target,
            ):
                shutil.copyfileobj(source, target)
        except UnicodeError as error:  # has no `start` if the byte order mark is missing
            raise DataError(
                f"{name} must be {encoding} text, invalid bytes at {getattr(error, 'start', 0)}",
                hint="pass another --encoding, such as utf-8, latin-1, utf-16-le or utf-16-be",
            ) from error
        yield Path(kept.name)


def _require_utf8(path: Path, name: str) -> None:
    """Raise DataError for other bytes, which a reader would replace in names and keys."""
    decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        with path.open("rb") as opened:
            while part := opened.read(_CHUNK_BYTES):
                decoder.decode(part)
                place += len(part)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} must be UTF-8 text, found byte {error.object[error.start]:#04x} "
            f"near byte {place + error.start}",
            hint="its encoding may be Windows: pass --encoding cp1252 or --encoding latin-1",
        ) from error


def _require_lines(path: Path, name: str) -> None:
    """Raise DataError for lines that end with a carriage return alone: all would be one line."""
    with path.open("rb") as opened:
        head = opened.read(_SAMPLE_BYTES)
    if b"\r" in head.strip() and b"\n" not in head:
        raise DataError(
            f"lines of {name} must end with \\n, found only \\r",
            hint=r"convert them, for example with tr '\r' '\n'",
        )


def _sample(path: Path) -> list[str]:
    with path.open("rb") as opened:
        head = opened.read(_SAMPLE_BYTES)
    lines = head.decode("utf-8", errors="replace").splitlines()
    return lines[: _SAMPLE_LINES if len(head) < _SAMPLE_BYTES else max(1, len(lines) - 1)]


def _before_header(lines: Sequence[str]) -> tuple[int, str | None]:
    """Return how many lines come before the header, and the separator that one of them names.

    These are `sep=;`, comments and blank lines; a `#` before the names of as many columns as the
    next line has is part of a name.
    """
    skipped, declared = 0, None
    if lines and lines[0].strip('"').lower().startswith("sep=") and len(lines[0].strip('"')) == 5:
        skipped, declared = 1, lines[0].strip('"')[4]
    comments = list(takewhile(lambda line: not line or line[0] == "#", lines[skipped:]))
    after = lines[skipped + len(comments) :]
    if comments and after and _is_header(comments[-1], after[0]):
        comments = comments[:-1]
    return skipped + len(comments), declared


def _is_header(comment: str, line: str) -> bool:
    """Return whether a line that begins with `#` names the columns of the next line."""
    counts = _counts(line)
    return bool(counts) and _counts(comment) == counts and any(map(str.isdigit, line))


def _counts(line: str) -> dict[str, int]:
    bare = _QUOTED.sub("", line)
    return {sign: bare.count(sign) for sign in SEPARATORS if sign in bare}


def _separator(lines: Sequence[str], name: str) -> str:
    """Return the separator that occurs as often in the header as in the other lines."""
    if not lines:
        return ","
    counts = _counts(lines[0])
    even = [
        sign
        for sign, count in counts.items()
        if all(_counts(line).get(sign, 0) == count for line in lines[1:_SAMPLE_LINES] if line)
    ]
    if len(counts) <= 1:
        return next(iter(counts), ",")
    if len(even) == 1:
        return even[0]
    named = " or ".join(SEPARATORS[sign] for sign in even or counts)
    options = " or ".join(f"--separator '{sign}'" for sign in even or counts)
    raise DataError(
        f"ambiguous column separator of {name}, found {named}: {lines[0][:80]!r}",
        hint=f"pass {options}",
    )


def _require_header(line: str, separator: str, name: str) -> None:
    """Raise DataError where the first line holds a time and a number, as other lines do."""
    cells = [cell.strip().strip('"') for cell in line.split(separator)]
    is_dated = any(_DATE.match(cell) for cell in cells)
    others = [cell for cell in cells if not _DATE.match(cell)]
    if is_dated and any(_NUMBER.fullmatch(cell) for cell in others):
        raise DataError(
            f"{name} must begin with a header line, found {line[:80]!r}",
            hint="pass the column names, such as --columns series_id,timestamp,value",
        )


def _stripped(cells: pl.LazyFrame) -> pl.LazyFrame:
    """Return the columns, without blanks and quotes around their names."""
    names = cells.collect_schema().names()
    bare = [name.strip().strip('"').strip() for name in names]
    if len(set(bare)) < len(bare):
        return cells
    return cells.rename(dict(zip(names, bare, strict=True)))
