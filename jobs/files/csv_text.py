"""CSV files as text: their encoding, what parts their columns, where their header is.

What is certain is found; what can be two things is refused with both named.
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
from jobs.files.layout import Dialect

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
"""What may stand between columns, and how it is called."""

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
def scanned(path: Path, dialect: Dialect, name: str) -> Iterator[pl.LazyFrame]:
    """Give the cells of a file as text; DataError where it cannot be told how it is written."""
    with _in_utf8(path, dialect, name) as plain:
        _require_lines(plain, name)
        lines = _sample(plain)
        skipped, declared = _before_header(lines)
        rest = lines[skipped:]
        separator = dialect.separator or declared or _separator(rest, name)
        if rest and not dialect.columns:
            _require_header(rest[0], separator, name)
        found = pl.scan_csv(
            plain,
            infer_schema=False,
            separator=separator,
            skip_lines=skipped,
            has_header=not dialect.columns,
            new_columns=list(dialect.columns) or None,
        )
        yield _stripped(found)


@contextmanager
def _in_utf8(path: Path, dialect: Dialect, name: str) -> Iterator[Path]:
    """Give the file, or a copy of it in UTF-8."""
    with path.open("rb") as opened:
        head = opened.read(_SAMPLE_BYTES)
    packed = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)
    if packed is not None:
        raise DataError(f"{name} must be text, found {packed}", hint="unpack it first")
    found = next((known for bom, known in _BOMS.items() if head.startswith(bom)), None)
    encoding = found or dialect.encoding
    if encoding is None and b"\0" in head:
        raise DataError(
            f"{name} must be text in UTF-8, found zero bytes, as in UTF-16",
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
        except UnicodeError as error:  # has no place where a mark of the order is missing
            raise DataError(
                f"{name} must be {encoding}, found other bytes at {getattr(error, 'start', 0)}",
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
            f"{name} must be text in UTF-8, found the byte {error.object[error.start]:#04x} "
            f"near byte {place + error.start}",
            hint="pass --encoding cp1252 or --encoding latin-1, in which it may be written",
        ) from error


def _require_lines(path: Path, name: str) -> None:
    """Raise DataError where lines end as nobody reads them any more: all would be one."""
    with path.open("rb") as opened:
        head = opened.read(_SAMPLE_BYTES)
    if b"\r" in head.strip() and b"\n" not in head:
        raise DataError(
            f"lines of {name} must end with a line feed, found carriage returns alone",
            hint=r"convert them, as tr '\r' '\n' does",
        )


def _sample(path: Path) -> list[str]:
    with path.open("rb") as opened:
        head = opened.read(_SAMPLE_BYTES)
    lines = head.decode("utf-8", errors="replace").splitlines()
    return lines[: _SAMPLE_LINES if len(head) < _SAMPLE_BYTES else max(1, len(lines) - 1)]


def _before_header(lines: Sequence[str]) -> tuple[int, str | None]:
    """Return how many lines come before the header, and the separator that one of them names.

    These are `sep=;` and comments; a `#` before the names of as many columns as the next line
    has is part of a name.
    """
    skipped, declared = 0, None
    if lines and lines[0].strip('"').lower().startswith("sep=") and len(lines[0].strip('"')) == 5:
        skipped, declared = 1, lines[0].strip('"')[4]
    comments = list(takewhile(lambda line: line.startswith("#"), lines[skipped:]))
    after = lines[skipped + len(comments) :]
    if comments and after and _is_header(comments[-1], after[0]):
        comments = comments[:-1]
    return skipped + len(comments), declared


def _is_header(comment: str, line: str) -> bool:
    """Tell whether a line that begins with `#` names the columns of the next one, which is data."""
    counts = _counts(line)
    return bool(counts) and _counts(comment) == counts and any(map(str.isdigit, line))


def _counts(line: str) -> dict[str, int]:
    bare = _QUOTED.sub("", line)
    return {sign: bare.count(sign) for sign in SEPARATORS if sign in bare}


def _separator(lines: Sequence[str], name: str) -> str:
    """Return what parts the columns of the header, and those of the other lines as often."""
    if not lines:
        return ","
    found = _counts(lines[0])
    even = [
        sign
        for sign, count in found.items()
        if all(_counts(line).get(sign, 0) == count for line in lines[1:_SAMPLE_LINES] if line)
    ]
    if len(found) <= 1:
        return next(iter(found), ",")
    if len(even) == 1:
        return even[0]
    named = " or ".join(SEPARATORS[sign] for sign in even or found)
    options = " or ".join(f"--separator '{sign}'" for sign in even or found)
    raise DataError(
        f"one sign must stand between the columns of {name}, found that it can be {named}: "
        f"{lines[0][:80]!r}",
        hint=f"pass {options}",
    )


def _require_header(line: str, separator: str, name: str) -> None:
    """Raise DataError where the first line holds a time and a number, as other lines do."""
    cells = [cell.strip().strip('"') for cell in line.split(separator)]
    is_dated = any(_DATE.match(cell) for cell in cells)
    others = [cell for cell in cells if not _DATE.match(cell)]
    if is_dated and any(_NUMBER.fullmatch(cell) for cell in others):
        raise DataError(
            f"{name} must begin with a line of column names, found {line[:80]!r}",
            hint="pass --columns with their names, such as --columns series_id,timestamp,value",
        )


def _stripped(found: pl.LazyFrame) -> pl.LazyFrame:
    """Return the columns under their names without blanks and quotes around them."""
    names = found.collect_schema().names()
    bare = [name.strip().strip('"').strip() for name in names]
    if len(set(bare)) < len(bare):
        return found
    return found.rename(dict(zip(names, bare, strict=True)))
