"""Accuracy of forecasts, per series, cutoff, model and lead."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from polars import selectors as cs
from sqlalchemy import ColumnElement, Connection, Select, and_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from forecaster.schemas import ACCURACY, INSTANT, conform
from forecaster.store.connection.bulk import insert_frame, read_frame
from forecaster.store.state import datasets
from forecaster.store.tables import accuracy

_KEYS = {"series_id": pl.Int32(), "cutoff": INSTANT, "lead": pl.String()}
_RANGES_AT_ONCE = 100_000


def write(
    conn: Connection, dataset: str, model_id: int, frame: pl.DataFrame, *, scored_at: datetime
) -> pl.DataFrame:
    """Append the ACCURACY of one model that was not scored before; return what that is.

    AlreadyWritten if another process scores the same meanwhile.
    """
    rows = datasets.with_ids(conn, dataset, conform(frame, ACCURACY))
    scored = _scored(conn, model_id, rows).with_columns(is_scored=True)
    is_scored = rows.join(scored, on=[*_KEYS], how="left", maintain_order="left")["is_scored"]
    _insert(conn, rows.filter(is_scored.is_null()), model_id, scored_at)
    return frame.filter(is_scored.is_null())


def _insert(conn: Connection, rows: pl.DataFrame, model_id: int, scored_at: datetime) -> int:
    labelled = rows.with_columns(
        model_id=pl.lit(model_id, dtype=pl.Int32()),
        scored_at=pl.lit(scored_at, dtype=INSTANT),
    )
    return insert_frame(conn, accuracy, labelled)


def _scored(conn: Connection, model_id: int, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the keys that exist between the first and the last cutoff of each series and lead.

    One descent of the key for each of these ranges, most of which are a single cutoff.
    """
    ranges = rows.group_by("series_id", "lead").agg(
        pl.col("cutoff").min().alias("since"), pl.col("cutoff").max().alias("until")
    )
    parts = ranges.sort("series_id", "lead").iter_slices(_RANGES_AT_ONCE)
    frames = [read_frame(conn, _probe(conn, model_id, part), _KEYS) for part in parts]
    return pl.concat([pl.DataFrame(schema=_KEYS), *frames])


def _probe(conn: Connection, model_id: int, part: pl.DataFrame) -> Select[Any]:
    """Select the keys in some ranges; the bounds of all of them leave few partitions to plan."""
    bounds = accuracy.c.cutoff.between(part["since"].min(), part["until"].max())
    keys = select(*(accuracy.c[name] for name in _KEYS)).where(
        accuracy.c.model_id == model_id, bounds
    )
    plain = part.with_columns(cs.datetime().to_physical())
    if conn.dialect.name == "sqlite":
        listed = sa.func.json_each(json.dumps(plain.rows())).table_valued("value")
        fields = [sa.func.json_extract(listed.c.value, f"$[{place}]") for place in range(4)]
        return keys.select_from(listed.join(accuracy, _lies_in(conn, *fields)))
    kinds: Sequence[type[TypeEngine[Any]]] = (sa.Integer, sa.Text, sa.BigInteger, sa.BigInteger)
    arrays = (
        sa.bindparam(None, column.to_list(), ARRAY(kind))
        for column, kind in zip(plain.iter_columns(), kinds, strict=True)
    )
    listed = sa.func.unnest(*arrays).table_valued(*plain.columns).render_derived()
    rows = keys.where(_lies_in(conn, *listed.c)).offset(0).lateral()
    return select(*rows.c).select_from(listed.join(rows, sa.true()))


def _lies_in(
    conn: Connection,
    series_id: ColumnElement[int],
    lead: ColumnElement[str],
    since: ColumnElement[int],
    until: ColumnElement[int],
) -> ColumnElement[bool]:
    """Return the condition that a row belongs to a range, whose ends are microseconds."""
    is_between = sa.type_coerce(accuracy.c.cutoff, sa.Integer).between(since, until)
    if conn.dialect.name == "postgresql":
        is_between = accuracy.c.cutoff.between(_instant(since), _instant(until))
    return and_(accuracy.c.series_id == series_id, accuracy.c.lead == lead, is_between)


def _instant(microseconds: ColumnElement[int]) -> ColumnElement[datetime]:
    """Return an instant of PostgreSQL."""
    passed = microseconds * sa.literal_column("interval '1 microsecond'")
    return sa.literal_column("timestamptz 'epoch'") + passed
