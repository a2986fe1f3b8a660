"""Names and their integer keys: datasets, and the series in them."""

from collections.abc import Iterable

import polars as pl
from sqlalchemy import Connection, Select, select

from forecaster.store.bulk import read_frame
from forecaster.store.dialects import insert_or
from forecaster.store.tables import datasets, series

_KEYS = {"id": pl.Int32(), "key": pl.String()}


def dataset_id(conn: Connection, name: str) -> int:
    """Return the key of a dataset, new if need be."""
    query = id_of(name)
    found = conn.scalar(query)
    if found is None:
        conn.execute(insert_or(conn, datasets).on_conflict_do_nothing(), {"name": name})
        found = conn.scalar(query)
    assert found is not None
    return int(found)


def series_ids(conn: Connection, dataset: str, keys: Iterable[str]) -> dict[str, int]:
    """Return the integer key of every series in `keys`, new where need be."""
    wanted = sorted(set(keys))
    owner = dataset_id(conn, dataset)
    known = _known(conn, dataset)
    missing = [{"dataset_id": owner, "key": key} for key in wanted if key not in known]
    if missing:
        conn.execute(insert_or(conn, series).on_conflict_do_nothing(), missing)
        known = _known(conn, dataset)
    return {key: known[key] for key in wanted}


def with_ids(conn: Connection, dataset: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with integer keys in place of the text in `series_id`."""
    ids = series_ids(conn, dataset, frame["series_id"].unique())
    return frame.with_columns(
        pl.col("series_id").replace_strict(
            list(ids), pl.Series(list(ids.values()), dtype=pl.Int32()), return_dtype=pl.Int32()
        )
    )


def keys(conn: Connection, dataset: str) -> pl.DataFrame:
    """Return the integer `id`, the text `key` and the `rank` of every series, sorted by key."""
    query = select(series.c.id, series.c.key).join(datasets).where(datasets.c.name == dataset)
    return read_frame(conn, query, _KEYS).sort("key").with_row_index("rank")


def names(conn: Connection) -> list[str]:
    """Return the names of all datasets that were ever named, sorted."""
    return sorted(conn.scalars(select(datasets.c.name)))


def lock(conn: Connection, dataset: str) -> int:
    """Let no other transaction change this dataset until this one ends; return its key."""
    owner = dataset_id(conn, dataset)
    conn.execute(
        select(datasets.c.id).where(datasets.c.id == owner).with_for_update(key_share=True)
    )
    return owner


def series_of(dataset: str, key: str | None = None) -> Select[int]:
    """Select the integer keys of all series of a dataset, or of the one called `key`."""
    query = select(series.c.id).join(datasets).where(datasets.c.name == dataset)
    return query if key is None else query.where(series.c.key == key)


def id_of(dataset: str) -> Select[int]:
    """Select the integer key of a dataset; no row before it was first named."""
    return select(datasets.c.id).where(datasets.c.name == dataset)


def _known(conn: Connection, dataset: str) -> dict[str, int]:
    frame = keys(conn, dataset)
    return dict(zip(frame["key"], frame["id"], strict=True))
