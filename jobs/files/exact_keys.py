"""Keys of NDJSON as they are written: a parser that makes one type of a column rounds them."""

import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

import polars as pl

from forecaster.ingestion.series_keys import key_text, texts_of


def with_exact_keys(
    part: pl.DataFrame, lines: Iterable[bytes], keys: Sequence[str]
) -> pl.DataFrame:
    """Return `part`, which was read from `lines`, with the columns `keys` as text.

    Where numbers beside others were rounded to float64, or became text, the lines are read again.
    """
    named = [name for name in keys if name in part.columns]
    lines = list(lines)
    rounded = [name for name in named if _is_rounded(part[name], lines)]
    texts = {name: key_text(part[name]) for name in named if name not in rounded}
    if rounded:
        objects = [json.loads(line, parse_float=Decimal) for line in lines if line.strip()]
        texts |= {name: texts_of(name, (row.get(name) for row in objects)) for name in rounded}
    return part.with_columns(**texts)


def _is_rounded(column: pl.Series, lines: Sequence[bytes]) -> bool:
    """Return whether numbers in a column may not be what was written."""
    if column.dtype.is_integer() or column.dtype.is_nested():
        return False
    if column.dtype != pl.String:
        return column.dtype.is_float()
    spellings = (json.dumps(column.name, ensure_ascii=is_ascii) for is_ascii in (True, False))
    name = b"|".join(re.escape(spelling.encode()) for spelling in spellings)
    number = re.compile(rb"(?:" + name + rb")\s*:\s*[-0-9]")
    return any(map(number.search, lines))
