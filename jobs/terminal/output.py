"""What commands print: data on stdout, messages on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jobs.execution.secret_filter import redacted
from jobs.terminal.streams import encodes

PLAIN_WIDTH = 200
"""Columns of a table that goes to a pipe or a file."""
_UNLIMITED = 1_000_000
_TINY = 1e-12


def say(text: str) -> None:
    """Print a message."""
    _print(text, sys.stderr)


def data(text: str) -> None:
    """Print a result."""
    _print(text, sys.stdout)


def as_json(value: Any) -> None:
    """Print `value` as JSON; instants become ISO 8601 text.

    What stdout cannot encode becomes escapes of JSON.
    """
    text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
    if not encodes(sys.stdout, text):
        text = json.dumps(value, indent=2, default=str)
    data(text)


def _print(text: str, stream: TextIO) -> None:
    stream.write(f"{redacted(text)}\n")
    stream.flush()


def table(rows: Sequence[Mapping[str, object]], *, columns: Sequence[str]) -> None:
    """Print `rows` as an aligned table of `columns`; numbers to the right.

    Where the columns have no room for their longest words, each row is a list of labels and values.
    """
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        numeric = any(isinstance(row.get(column), int | float) for row in rows)
        drawn.add_column(_title(column), justify="right" if numeric else "left")
    for row in rows:
        drawn.add_row(*(cell(row.get(column)) for column in columns))
    console = _console(PLAIN_WIDTH)
    unlimited = console.options.update(max_width=_UNLIMITED)
    if Measurement.get(console, unlimited, drawn).minimum <= console.width:
        console.print(drawn)
        return
    for row in rows:
        console.print(labelled((_title(column), cell(row.get(column))) for column in columns))
        console.print()


def labelled(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a label and a sentence in each row."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column()
    for label, sentence in rows:
        drawn.add_row(label, Text(redacted(sentence)))
    return drawn


def show(drawn: RenderableType, *, width: int) -> None:
    """Print what rich draws: as wide as a terminal, `width` columns into a pipe or a file."""
    _console(width).print(drawn)


def _console(width: int) -> Console:
    return Console(width=None if sys.stdout.isatty() else width, highlight=False)


def _title(column: str) -> str:
    return column.replace("_", " ")


def cell(value: object) -> str:
    """Return `value` as text: few digits, instants to the second, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _figure(value)
    if isinstance(value, datetime):
        return when(value)
    return redacted(str(value))


def _figure(value: float) -> str:
    """Return three significant digits, without an exponent unless the value is tiny."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    short = f"{value:.3g}"
    return f"{Decimal(short):f}" if abs(value) > _TINY else short


def when(instant: datetime) -> str:
    """Return an instant in UTC, to the second."""
    return f"{instant:%Y-%m-%d %H:%M:%S}Z"
