"""Why we said it: attention weights, and where the past patches lie that they point at."""

from datetime import datetime

import polars as pl
from sqlalchemy import Connection, delete

from forecaster.frames import ATTENTION, PATCHES, conform
from forecaster.store import datasets
from forecaster.store.bulk import insert_frame
from forecaster.store.tables import attention, attention_patches


def write(
    conn: Connection,
    dataset: str,
    model_id: int,
    weights: pl.DataFrame,
    patches: pl.DataFrame,
) -> int:
    """Append ATTENTION and the PATCHES of its cutoffs; return how many rows of ATTENTION."""
    model = pl.lit(model_id, dtype=pl.Int32())
    owner = pl.lit(datasets.dataset_id(conn, dataset), dtype=pl.Int32())
    rows = datasets.with_ids(conn, dataset, conform(weights, ATTENTION))
    insert_frame(
        conn,
        attention_patches,
        conform(patches, PATCHES).with_columns(model_id=model, dataset_id=owner),
    )
    return insert_frame(conn, attention, rows.with_columns(model_id=model))


def delete_before(conn: Connection, dataset: str, before: datetime) -> int:
    """Delete the attention of cutoffs earlier than `before`; return how many rows, with patches."""
    weights = delete(attention).where(
        attention.c.series_id.in_(datasets.series_of(dataset)), attention.c.cutoff < before
    )
    patches = delete(attention_patches).where(
        attention_patches.c.dataset_id.in_(datasets.id_of(dataset)),
        attention_patches.c.cutoff < before,
    )
    return conn.execute(weights).rowcount + conn.execute(patches).rowcount
