"""Lines of CSV that have more or fewer cells than the header: taken out of the file, and counted.

The parser fills missing cells with nulls, so that a line that was cut off would be a row without a
value, and stops at a line that has too many cells, or a quote in the middle of one.
"""

import csv
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from forecaster.ingestion.malformed import MalformedRows

_CHUNK_BYTES = 1 << 20
_LINES_AT_ONCE = 10_000
_END = "\n\n"
"""After the last line, unlike any line of a file: only an open quote takes it in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvLayout:
    """How rows are written: `skipped` lines, those of the header, then rows of `width` cells."""

    separator: str
    skipped: int
    header: int
    width: int
    is_last_unnamed: bool = False
    """Whether the header ends in a separator: rows may lack the cell after it."""


def first_row(lines: Sequence[str], separator: str) -> tuple[int, list[str]]:
    """Return how many lines the first row has, and its cells; a quoted one may span lines."""
    reader = csv.reader(lines, delimiter=separator)
    cells = next(reader, [])
    return reader.line_num, cells


@contextmanager
def well_formed(path: Path, layout: CsvLayout, malformed: MalformedRows) -> Iterator[Path]:
    """Yield the file, or a copy without the lines that are `malformed`; blank lines stay."""
    if _is_plain(path, layout):
        yield path
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as kept:
        with path.open(encoding="utf-8", newline="") as source:
            kept.writelines(islice(source, layout.skipped + layout.header))
            writer = csv.writer(kept, delimiter=layout.separator, lineterminator="\n")
            others = _copied(source, writer.writerow, layout)
            while lines := [*islice(others, _LINES_AT_ONCE)]:
                malformed.add(lines)
        kept.flush()
        yield Path(kept.name)


def _is_plain(path: Path, layout: CsvLayout) -> bool:
    """Return whether all rows have as many cells as they should, and no quote is in one."""
    sign, wanted = layout.separator.encode(), {layout.width - 1}
    with path.open("rb") as opened:
        for _ in range(layout.skipped + layout.header):
            opened.readline()
        while part := opened.read(_CHUNK_BYTES):
            part += opened.readline()
            if b'"' in part:
                return _is_plain_in_quotes(path, layout)
            if {line.count(sign) for line in part.splitlines() if line} - wanted:
                return False
    return True


def _is_plain_in_quotes(path: Path, layout: CsvLayout) -> bool:
    with path.open(encoding="utf-8", newline="") as source:
        rows = _rows(islice(source, layout.skipped + layout.header, None), layout)
        return all(cells is not None and '"' not in "".join(cells) for _, cells in rows)


def _copied(
    source: TextIO, write: Callable[[list[str]], object], layout: CsvLayout
) -> Iterator[str]:
    """Write the rows that are well formed; yield the lines of the others."""
    for lines, cells in _rows(source, layout):
        if cells is None:
            yield from (line.rstrip("\r\n") for line in lines)
        else:
            write(cells)


def _rows(source: Iterable[str], layout: CsvLayout) -> Iterator[tuple[list[str], list[str] | None]]:
    """Yield the lines of each row with its cells; None where these are too many or too few."""
    lines: list[str] = []

    def noted() -> Iterator[str]:
        for line in chain(source, [_END]):
            lines.append(line)
            yield line

    rows = csv.reader(noted(), delimiter=layout.separator)
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:  # a quote that is open for too long
            cells = [""] * (layout.width + 1)
        is_open = lines[-1] == _END
        if is_open and len(lines) == 1:
            return
        yield lines[: len(lines) - is_open], None if is_open else _fitted(cells, layout)
        lines.clear()


def _fitted(cells: list[str], layout: CsvLayout) -> list[str] | None:
    """Return as many cells as the header has; None where there are too many or too few.

    A separator at the end of a line, or of the header alone, makes no difference.
    """
    if len(cells) in (0, layout.width):
        return cells
    if len(cells) == layout.width + 1 and not cells[-1]:
        return cells[:-1]
    if len(cells) == layout.width - 1 and layout.is_last_unnamed:
        return [*cells, ""]
    return None
