"""Names and their integer keys: datasets, and the series in them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, Select, func, select, update

from forecaster.store.connection.bulk import read_frame
from forecaster.store.tables import datasets, models, series
from forecaster.store.upserts import insert_or

_KEYS_AT_ONCE = 20_000
"""One field of PostgreSQL holds 1 GB: as many keys, however long they are."""
_KEYS = {"id": pl.Int32(), "key": pl.String()}


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestState:
    """How far the observations of a dataset have come; None before the first."""

    landed_at: datetime | None
    """The greatest `recorded_at`: a reader that has seen it is current."""
    newest_observation: datetime | None
    """The greatest `timestamp`."""


def dataset_id(conn: Connection, name: str) -> int:
    """Return the key of a dataset, new if need be."""
    query = id_of(name)
    key = conn.scalar(query)
    if key is None:
        conn.execute(insert_or(conn, datasets).on_conflict_do_nothing(), {"name": name})
        key = conn.scalar(query)
    assert key is not None
    return int(key)


def series_ids(conn: Connection, dataset: str, keys: Iterable[str]) -> dict[str, int]:
    """Return the integer key of every series in `keys`, new where need be."""
    wanted = pl.Series(sorted(set(keys)), dtype=pl.String)
    return dict(zip(wanted, _ids(conn, dataset, wanted), strict=True))


def with_ids(conn: Connection, dataset: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with integer keys in place of the text in `series_id`, new where need be."""
    return frame.with_columns(_ids(conn, dataset, frame["series_id"]).alias("series_id"))


def known_ids(conn: Connection, dataset: str, texts: pl.Series) -> pl.Series:
    """Return the integer key of the series of each row; null where it has none yet."""
    runs = texts.rle().struct.unnest()
    known = keys(conn, dataset).select(value="key", id="id")
    joined = runs.join(known, on="value", how="left", maintain_order="left")
    places = np.repeat(np.arange(runs.height, dtype=np.uint32), runs["len"].to_numpy())
    return joined["id"].gather(places)


def numbered(frame: pl.DataFrame, ids: Mapping[str, int]) -> pl.DataFrame:
    """Return `frame` with the integer of `ids` in place of the text in `series_id`."""
    runs = frame["series_id"].rle().struct.unnest()
    numbers = np.array([ids[key] for key in runs["value"]], np.int32)
    repeated = np.repeat(numbers, runs["len"].to_numpy())
    return frame.with_columns(pl.Series("series_id", repeated, dtype=pl.Int32()))


def keys(conn: Connection, dataset: str) -> pl.DataFrame:
    """Return the integer `id`, the text `key` and the `rank` of every series, sorted by key."""
    query = select(series.c.id, series.c.key).join(datasets).where(datasets.c.name == dataset)
    in_bulk = _keys_in_arrays if conn.dialect.name == "postgresql" else read_frame
    return in_bulk(conn, query, _KEYS).sort("key").with_row_index("rank")


def newest_id(conn: Connection, dataset: str) -> int:
    """Return the greatest integer key in a dataset, 0 where there is none: new ones are greater."""
    ids = select(series.c.id).join(datasets).where(datasets.c.name == dataset)
    return conn.scalar(select(func.max(ids.subquery().c.id))) or 0


def names(conn: Connection) -> list[str]:
    """Return the names of all datasets that were ever named, sorted."""
    return sorted(conn.scalars(select(datasets.c.name)))


def lock(conn: Connection, dataset: str) -> IngestState:
    """Let no other transaction change this dataset until this one ends."""
    owner = dataset_id(conn, dataset)
    conn.execute(
        select(datasets.c.id).where(datasets.c.id == owner).with_for_update(key_share=True)
    )
    return ingest_state(conn, dataset)


def ingest_state(conn: Connection, dataset: str) -> IngestState:
    """Return how far the observations of a dataset have come."""
    row = conn.execute(
        select(datasets.c.landed_at, datasets.c.newest_observation).where(
            datasets.c.name == dataset
        )
    ).one_or_none()
    return IngestState(
        landed_at=None if row is None else row.landed_at,
        newest_observation=None if row is None else row.newest_observation,
    )


def set_ingest_state(conn: Connection, dataset: str, state: IngestState) -> None:
    """Record how far the observations have come; the dataset must be locked."""
    conn.execute(
        update(datasets)
        .where(datasets.c.name == dataset)
        .values(landed_at=state.landed_at, newest_observation=state.newest_observation)
    )


def stored_settings(conn: Connection, dataset: str) -> Mapping[str, Any] | None:
    """Return the settings that the service last ran with; None before it did."""
    settings: Mapping[str, Any] | None = conn.scalar(
        select(datasets.c.config).where(datasets.c.name == dataset)
    )
    return settings


def store_settings(conn: Connection, dataset: str, document: Mapping[str, Any]) -> None:
    """Record the settings that the service runs with (`forecaster.config.diff.documents`)."""
    owner = dataset_id(conn, dataset)
    conn.execute(update(datasets).where(datasets.c.id == owner).values(config=document))


def series_of(dataset: str, key: str | None = None) -> Select[int]:
    """Select the integer keys of all series of a dataset, or of the one called `key`."""
    query = select(series.c.id).join(datasets).where(datasets.c.name == dataset)
    return query if key is None else query.where(series.c.key == key)


def id_of(dataset: str) -> Select[int]:
    """Select the integer key of a dataset; no row before it was first named."""
    return select(datasets.c.id).where(datasets.c.name == dataset)


def models_of(dataset: str) -> Select[int]:
    """Select the integer keys of all models of a dataset."""
    return select(models.c.id).where(models.c.dataset_id.in_(id_of(dataset)))


def _keys_in_arrays(
    conn: Connection, query: Select[Any], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Read thousands of rows of PostgreSQL at a time, which the driver hands over one by one."""
    rows = query.subquery()
    arrays = (sa.cast(sa.func.json_agg(rows.c[name]), sa.Text) for name in schema)
    parts = conn.execute(select(*arrays).group_by(rows.c.id // _KEYS_AT_ONCE))
    frames = [
        pl.DataFrame(dict(zip(schema, map(json.loads, part), strict=True)), schema=schema)
        for part in parts
    ]
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _ids(conn: Connection, dataset: str, texts: pl.Series) -> pl.Series:
    """Return the integer key of the series of each row, new where need be."""
    ids = known_ids(conn, dataset, texts)
    if ids.null_count():
        owner = dataset_id(conn, dataset)
        missing = texts.filter(ids.is_null()).unique().sort()
        rows = [{"dataset_id": owner, "key": key} for key in missing]
        conn.execute(insert_or(conn, series).on_conflict_do_nothing(), rows)
        ids = known_ids(conn, dataset, texts)
    return ids
