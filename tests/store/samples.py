"""Frames as the rest of the program hands them to the store, small enough to read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
from sqlalchemy import Connection

from forecaster.schemas import (
    ACCURACY,
    ATTENTION,
    DEVIATION_COLUMNS,
    FORECASTS,
    OBSERVATIONS,
    PATCHES,
)
from forecaster.store.state import models
from forecaster.store.state.models import NewModel

START = datetime(2026, 11, 20, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def observed(
    values: Mapping[str, Sequence[float | None]], *, start: datetime = START
) -> pl.DataFrame:
    """OBSERVATIONS: one value per hour from `start` for each series."""
    return pl.DataFrame(
        [
            (series_id, start + hour * HOUR, value)
            for series_id, found in sorted(values.items())
            for hour, value in enumerate(found)
        ],
        schema=OBSERVATIONS,
        orient="row",
    )


def forecast(
    series_id: str = "a",
    *,
    cutoff: datetime = START,
    steps: int = 2,
    level: float = 100.0,
    status: str = "ok",
    hindsight: bool = False,
) -> pl.DataFrame:
    """FORECASTS of one series: step k has the median level + k."""
    rows = [
        {
            "series_id": series_id,
            "cutoff": cutoff,
            "step": step,
            "timestamp": cutoff + step * HOUR,
            "status": status,
            "hindsight": hindsight,
            "level": level,
            "copied": 0.5,
            "last_value": 0.25,
            "residual": step - 0.75,
            "adjustment": 0.0,
            **{name: step + (i - 6) / 4 for i, name in enumerate(DEVIATION_COLUMNS)},
        }
        for step in range(1, steps + 1)
    ]
    return pl.DataFrame(rows, schema=FORECASTS)


def weights(series_id: str = "a", *, cutoff: datetime = START) -> pl.DataFrame:
    """ATTENTION of one future patch over two past ones."""
    row = (series_id, cutoff, 1, 2, [0.5, 0.25, 0.125, 0.125])
    return pl.DataFrame([row], schema=ATTENTION, orient="row")


def patches(*, cutoff: datetime = START) -> pl.DataFrame:
    """PATCHES: two past patches of two hours."""
    rows = [
        (cutoff, patch, cutoff - (5 - 2 * patch) * HOUR, cutoff - (4 - 2 * patch) * HOUR)
        for patch in (1, 2)
    ]
    return pl.DataFrame(rows, schema=PATCHES, orient="row")


def scored(series_id: str = "a", *, cutoff: datetime = START, lead: str = "1") -> pl.DataFrame:
    """ACCURACY of one lead."""
    row = (series_id, cutoff, lead, 2, 1.0, 2.0, -0.5, 3.0, 200.0, 1.5, 1, 2, 2, 5.0)
    return pl.DataFrame([row], schema=ACCURACY, orient="row")


def new_model(*, parent_id: int | None = None, weights: bytes = b"weights") -> NewModel:
    return NewModel(
        config={"step": "1h", "season_length": 24},
        weights=weights,
        sha256="5" * 64,
        scores={"mase": 0.8, "wql": float("nan")},
        trained_from=START - 100 * HOUR,
        trained_to=START,
        parent_id=parent_id,
        created_at=START,
    )


def add_model(conn: Connection, dataset: str = "bikes") -> int:
    """Keep a model that is not in service."""
    return models.add(conn, dataset, new_model())
