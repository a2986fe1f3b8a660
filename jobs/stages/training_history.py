"""The history that a training reads: all of it, or a sample where it would not fit into memory.

It is read some series at a time. Of a sample the rest is read a second time, for its scales: a
series that was left out is no new series to the model.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.data.panel import build
from forecaster.network.spec import ModelSpec
from forecaster.store.observations import observations
from forecaster.store.state import datasets
from forecaster.training.history_sample import draw, newest_steps
from forecaster.training.sample_extent import Extent

ReadCells = Callable[[Connection, datetime], Iterator[pl.DataFrame]]
"""Returns CELLS from an instant to the end of what is known, of whole series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was read for a training: from `since`, series with the integer keys `kept`."""

    since: datetime
    kept: pl.Series
    extent: Extent


def read(
    conn: Connection, dataset: DatasetConfig, until: datetime, read_cells: ReadCells
) -> tuple[pl.DataFrame, Drawn]:
    """Return as many OBSERVATIONS up to `until` as `max_points` has room for."""
    keys = datasets.keys(conn, dataset.name)
    first, all_steps = _span(conn, dataset, until)
    steps = newest_steps(all_steps, keys.height, dataset.training.max_points)
    since = first + (all_steps - steps) * dataset.step.approximate
    sample = draw(read_cells(conn, since), keys, steps=steps, config=dataset.training)
    extent = Extent(
        series=len(sample.kept), all_series=sample.all_series, steps=steps, all_steps=all_steps
    )
    drawn = Drawn(since=since, kept=sample.kept, extent=extent)
    return observations.named(sample.cells, keys), drawn


def other_scales(
    conn: Connection,
    dataset: DatasetConfig,
    until: datetime,
    read_cells: ReadCells,
    *,
    drawn: Drawn,
    spec: ModelSpec,
) -> dict[str, float]:
    """Return the scales of the series that were left out, from the same steps as of the others."""
    if drawn.extent.series == drawn.extent.all_series:
        return {}
    keys, grid = datasets.keys(conn, dataset.name), spec.grid()
    end = grid.complete_at([until])[0]
    scales: dict[str, float] = {}
    for cells in read_cells(conn, drawn.since):
        others = cells.filter(~pl.col("series_id").is_in(drawn.kept.implode()))
        named = observations.named(others, keys)
        panel = build(named, grid, season_length=spec.season_length, end=end)
        scales.update(zip(panel.series_ids, panel.scale.tolist(), strict=True))
    return scales


def _span(conn: Connection, dataset: DatasetConfig, until: datetime) -> tuple[datetime, int]:
    """Return the first instant of the history, and how many steps it has at most."""
    first, last = until - dataset.history, until
    span = observations.span(conn, dataset.name)
    if span is not None:
        first, last = max(first, span[0]), min(last, span[1])
    return first, max(1, (last - first) // dataset.step.approximate + 1)
