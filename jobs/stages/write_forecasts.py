"""Write forecasts and their attention, some thousands of series at a time."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from forecaster.inference.prediction import Prediction
from forecaster.store.forecasts import attention, forecasts


def write(
    conn: Connection,
    dataset: str,
    names: Mapping[int, str],
    model_id: int,
    prediction: Prediction,
    *,
    now: datetime,
) -> None:
    """Write forecasts, their attention, and once for each cutoff where steps and patches lie.

    `names` are the series by key.
    """
    ids = {name: number for number, name in names.items()}
    rows = (block.arrays for block in prediction.blocks())
    forecasts.write_blocks(conn, ids, model_id, rows, issued_at=now, origin="live")
    forecasts.write_steps(conn, model_id, prediction.steps)
    if prediction.is_explained and not prediction.keys.is_empty():
        weights = (block.attention for block in prediction.blocks())
        attention.write_blocks(conn, ids, model_id, weights)
        attention.write_patches(conn, dataset, model_id, prediction.patches)
