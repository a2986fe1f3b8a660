"""What happened and when we heard of it: all versions, for whoever asks what was known when."""

from collections.abc import Iterator
from datetime import datetime

import polars as pl
from sqlalchemy import ColumnElement, Connection, select

from forecaster.frames import VERSIONS
from forecaster.store import datasets, pgarrays
from forecaster.store.bulk import read_frame
from forecaster.store.tables import observations, series

_ROWS_AT_ONCE = 2_000_000


def read(
    conn: Connection, dataset: str, *, since: datetime, until: datetime, steps: int
) -> Iterator[pl.DataFrame]:
    """Return VERSIONS of the timestamps between `since` and `until`, both included.

    Of whole series, millions of rows at a time; `steps` is about how many rows each has.
    """
    ours = datasets.series_of(dataset).order_by(series.c.id)
    ids = conn.scalars(ours).all()
    at_once = max(1, _ROWS_AT_ONCE // max(1, steps))
    limits = [observations.c.timestamp >= since, observations.c.timestamp <= until]
    for first in range(0, len(ids), at_once):
        block = ids[first : first + at_once]
        yield _of_series(conn, block[0], block[-1], dataset, limits)


def _of_series(
    conn: Connection, first: int, last: int, dataset: str, limits: list[ColumnElement[bool]]
) -> pl.DataFrame:
    owners = datasets.series_of(dataset).where(series.c.id.between(first, last))
    if conn.dialect.name == "postgresql":
        return pgarrays.read_versions(conn, owners.order_by(series.c.id), limits)
    query = (
        select(*(observations.c[name] for name in VERSIONS))
        .where(observations.c.series_id.in_(owners), *limits)
        .order_by(*(observations.c[name] for name in ("series_id", "timestamp", "recorded_at")))
    )
    return read_frame(conn, query, VERSIONS)
