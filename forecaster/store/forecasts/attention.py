"""Attention weights of forecasts, and the time ranges of the past patches."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import polars as pl
from sqlalchemy import Connection, delete, select

from forecaster.schemas import ATTENTION, PATCHES, conform
from forecaster.store.connection.bulk import insert_frame, insert_frames
from forecaster.store.state import datasets
from forecaster.store.tables import attention, attention_patches


def write_blocks(
    conn: Connection, ids: Mapping[str, int], model_id: int, frames: Iterable[pl.DataFrame]
) -> int:
    """Append ATTENTION, frame after frame as they come; `ids` are the integers of their keys."""
    model = pl.lit(model_id, dtype=pl.Int32())
    rows = (
        datasets.numbered(conform(frame, ATTENTION), ids).with_columns(model_id=model)
        for frame in frames
    )
    return insert_frames(conn, attention, rows)


def write_patches(conn: Connection, dataset: str, model_id: int, patches: pl.DataFrame) -> int:
    """Append PATCHES of cutoffs that have none of this model yet; return how many rows."""
    conform(patches, PATCHES)
    known = select(attention_patches.c.cutoff).where(
        attention_patches.c.dataset_id.in_(datasets.id_of(dataset)),
        attention_patches.c.model_id == model_id,
        attention_patches.c.patch == 1,
        attention_patches.c.cutoff.between(patches["cutoff"].min(), patches["cutoff"].max()),
    )
    rows = patches.filter(~pl.col("cutoff").is_in([*conn.scalars(known)])).with_columns(
        model_id=pl.lit(model_id, dtype=pl.Int32()),
        dataset_id=pl.lit(datasets.dataset_id(conn, dataset), dtype=pl.Int32()),
    )
    return insert_frame(conn, attention_patches, rows)


def delete_patches_before(conn: Connection, dataset: str, before: datetime) -> int:
    """Delete the PATCHES of cutoffs earlier than `before`; return how many rows."""
    return conn.execute(
        delete(attention_patches).where(
            attention_patches.c.dataset_id.in_(datasets.id_of(dataset)),
            attention_patches.c.cutoff < before,
        )
    ).rowcount
