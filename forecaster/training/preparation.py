"""Preparation of a training: from observations and settings to a panel and a model's shape."""

from dataclasses import replace
from datetime import datetime

import polars as pl

from forecaster.config.settings import DatasetConfig
from forecaster.data.opening_detection import hours_of
from forecaster.data.panel import Panel, build
from forecaster.data.running_totals import are_sums
from forecaster.data.seasonality import detect_seasons
from forecaster.data.timestamp_marks import grid_of
from forecaster.errors import InsufficientHistory
from forecaster.network.spec import ModelSpec
from forecaster.training.hyperparameters import derive
from forecaster.training.sampling import CutoffRanges, cutoff_ranges


def prepare(
    observations: pl.DataFrame,
    config: DatasetConfig,
    *,
    known: datetime | None = None,
    versions: pl.DataFrame | None = None,
) -> tuple[Panel, ModelSpec]:
    """Lay OBSERVATIONS on their grid and derive the model's shape from what they show.

    `known` is up to when all rows are in: cells that are not complete by then are left out, as they
    are from forecasts. Without it all cells count as complete. VERSIONS of some rows show whether
    they are sums over their step; without them the query does.

    Raises InsufficientHistory if no series has a single window to learn from.
    """
    if observations.is_empty():
        raise InsufficientHistory(
            "no observations",
            hint=InsufficientHistory.NO_DATA,
        )
    detected = None if versions is None else are_sums(versions, config.step)
    grid = grid_of(
        observations,
        config.step,
        config.timezone or "UTC",
        marks=config.timestamp_marks,
        are_sums=config.groups if detected is None else detected,
    )
    if known is not None:
        observations = _complete(observations, grid.known(known))
    first = build(observations, grid)
    seasons = detect_seasons(first, config.step)
    season_length = config.model.season_length or seasons.season_length
    grid = replace(grid, hours=hours_of(first, config.calendar))
    panel = build(observations, grid, season_length=season_length)
    spec = derive(config, seasons, panel)
    _require_windows(cutoff_ranges(panel, spec), spec)
    return panel, spec


def _complete(observations: pl.DataFrame, until: datetime) -> pl.DataFrame:
    complete = observations.filter(pl.col("timestamp") <= until)
    if complete.is_empty():
        expected = f"no step is complete by {until.isoformat()}"
        raise InsufficientHistory(expected, hint=InsufficientHistory.TOO_LITTLE)
    return complete


def _require_windows(ranges: CutoffRanges, spec: ModelSpec) -> None:
    if ranges.total:
        return
    raise InsufficientHistory(
        f"no series has more than {spec.min_observed} steps of history",
        hint=InsufficientHistory.TOO_LITTLE,
    )
