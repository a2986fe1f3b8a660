"""Which of some rows are stored already: one descent of an index for each of them."""

import json
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, Select, select
from sqlalchemy.dialects.postgresql import ARRAY

from forecaster.schemas import INSTANT
from forecaster.store.connection.bulk import read_frame
from forecaster.store.tables import observations

CELLS = pl.Schema({"series_id": pl.Int32(), "timestamp": INSTANT, "value": pl.Float64()})
"""Observations under the integer keys of their series, sorted by both; a null retracts one."""

_KEY = ["series_id", "timestamp"]
_VERSIONS = {**CELLS, "recorded_at": INSTANT}
_PROBES_AT_ONCE = 100_000


def with_stored(conn: Connection, incoming: pl.DataFrame) -> pl.DataFrame:
    """Return CELLS beside the newest version of each: `stored`, `value_stored`, `recorded_at`.

    Where nothing is stored these are null.
    """
    parts = incoming.iter_slices(_PROBES_AT_ONCE)
    stored = [read_frame(conn, _probe(conn, part), _VERSIONS) for part in parts]
    newest = (
        pl.concat([pl.DataFrame(schema=_VERSIONS), *stored])
        .sort(*_KEY, "recorded_at")
        .unique(_KEY, keep="last", maintain_order=True)
        .with_columns(stored=True)
    )
    return incoming.join(newest, on=_KEY, how="left", suffix="_stored")


def _probe(conn: Connection, part: pl.DataFrame) -> Select[Any]:
    """Select the stored versions of the rows in `part`, whatever the planner thinks of it."""
    ids, stamps = part["series_id"].to_list(), part["timestamp"].to_physical().to_list()
    columns = [observations.c[name] for name in _VERSIONS]
    if conn.dialect.name == "postgresql":
        return _probe_postgresql(columns, ids, stamps)
    rows = sa.func.json_each(json.dumps([*zip(ids, stamps, strict=True)])).table_valued("value")
    wanted = select(*(sa.func.json_extract(rows.c.value, f"$[{place}]") for place in (0, 1)))
    key = sa.tuple_(observations.c.series_id, sa.type_coerce(observations.c.timestamp, sa.Integer))
    return select(*columns).where(key.in_(wanted))


def _probe_postgresql(
    columns: list[sa.Column[Any]], ids: list[int], stamps: list[int]
) -> Select[Any]:
    """LIMIT keeps the planner from reading the whole table because many rows are wanted."""
    arrays = (
        sa.bindparam(None, values, ARRAY(kind))
        for values, kind in ((ids, sa.Integer), (stamps, sa.BigInteger))
    )
    wanted = sa.func.unnest(*arrays).table_valued("series_id", "microseconds").render_derived()
    since_epoch = wanted.c.microseconds * sa.literal_column("interval '1 microsecond'")
    newest = (
        select(*columns)
        .where(
            observations.c.series_id == wanted.c.series_id,
            observations.c.timestamp == sa.literal_column("timestamptz 'epoch'") + since_epoch,
        )
        .order_by(observations.c.recorded_at.desc())
        .limit(1)
        .lateral()
    )
    return select(*newest.c).select_from(wanted.join(newest, sa.true()))
