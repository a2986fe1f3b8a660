"""Whether text sorts chronologically: where it does not, comparing silently loses rows.

2026-01-31 09:00 sorts chronologically. 2026-2-1, 2026/01/01 and 2026-W05 do not, nor does text that
begins with no year, such as 31-Jan-2026; only text that can be parsed counts: `n/a` does not.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from forecaster.errors import DataError
from forecaster.ingestion.timestamps import read_instants

Range = tuple[str, str]

NO_YEAR: Sequence[Range] = (("", "1900"), ("2200", "\U0010ffff"))
"""Between these, text does not begin with a year from 1900 to 2199."""
_DAY_FIRST = (("19", "190"), ("20", "200"), ("21", "210"), ("22", "220"))
"""Between these, text starts with two digits that are no year: 20-Jan-2026, 21/01/2026."""
_MOST_YEARS = 20
"""Of the past that is searched for text that does not sort chronologically."""
_MOST_TEXTS = 1_000
"""Distinct texts without a year that are read to see whether they are times."""
_FIRST, _LAST = datetime(1900, 1, 2, tzinfo=UTC), datetime(2199, 12, 30, tzinfo=UTC)


def is_ordered(
    conn: Connection,
    timestamp: ColumnElement[str],
    between: tuple[datetime, datetime],
    timezone: str | None,
) -> bool:
    """Return whether text of these years sorts chronologically, as far as an index shows."""
    if _some(conn, timestamp, [*_DAY_FIRST, *_of_years(*between)], 1):
        return False
    others = _some(conn, timestamp, NO_YEAR, _MOST_TEXTS)
    return len(others) < _MOST_TEXTS and not _times(others, timezone, unsure=False)


def require_order(
    conn: Connection,
    everything: ColumnElement[str],
    compared: Callable[[datetime, datetime], ColumnElement[str]],
    between: tuple[datetime, datetime],
    timezone: str | None,
) -> None:
    """Raise DataError where a query that compares text itself loses rows.

    `everything` is the column whatever it is compared with, `compared` the result between two
    instants.
    """
    ranges = [*NO_YEAR, *_DAY_FIRST, *_of_years(*between)]
    times = _times(_some(conn, everything, ranges, _MOST_TEXTS), timezone, unsure=True)
    for text, instant in dict.fromkeys([*times[:1], *times[-1:]]):
        shown = compared(*((_FIRST, _LAST) if instant is None else (instant, instant)))
        if conn.scalar(sa.select(sa.literal(1)).where(shown == text).limit(1)) is None:
            raise DataError(
                f"the query compares {everything.key} with :since or :until, but its text does not "
                f"sort chronologically, such as {text!r}",
                hint="remove :since and :until from the query, so that rows are filtered by the "
                "parsed timestamps; or store that column as 2026-01-31 09:00",
            )


def among(timestamp: ColumnElement[str], ranges: Sequence[Range]) -> list[ColumnElement[bool]]:
    """Return the conditions that text lies in one of some ranges."""
    return [
        timestamp.between(sa.bindparam(None, low, sa.Text()), sa.bindparam(None, high, sa.Text()))
        for low, high in ranges
    ]


def _of_years(since: datetime, until: datetime) -> Iterator[Range]:
    """Yield where text begins with one of some years, but not as 2026-01-01 does."""
    first, last = since.year - 1, until.year + 1
    for year in range(max(first, last - _MOST_YEARS), last + 1):
        yield from ((f"{year}", f"{year}-"), (f"{year}-2", f"{year + 1}"))
        yield f"{year}-1-", f"{year}-1."
        for month in (f"{year}-{number}" for number in (10, 11, 12)):
            yield f"{month}-4", f"{month}."
            for day in (f"{month}-{number}" for number in (1, 2, 3)):  # or it begins with one
                yield from ((day, f"{day}/"), (f"{day}T", f"{day}U"))


def _some(
    conn: Connection, timestamp: ColumnElement[Any], ranges: Sequence[Range], most: int
) -> list[str]:
    query = sa.select(timestamp).where(sa.or_(*among(timestamp, ranges)))
    values = conn.scalars((query.distinct() if most > 1 else query).limit(most))
    return [text for text in values if isinstance(text, str)]  # numbers may lie beside it in SQLite


def _times(
    texts: Sequence[str], timezone: str | None, *, unsure: bool
) -> list[tuple[str, datetime | None]]:
    """Return the texts that can be read, and when they are, in their own order.

    Where `unsure`, also those that may mean several times.
    """
    series = pl.Series("text", sorted(texts), dtype=pl.String)
    try:
        reading = read_instants(series, timezone or "UTC")
    except DataError:  # nothing but digits of unknown meaning
        return []
    is_time = reading.timestamps.is_not_null()
    wanted = is_time | reading.is_ambiguous if unsure else is_time
    return [*zip(series.filter(wanted), reading.timestamps.filter(wanted), strict=True)]
