"""The newest forecast of one series as something to look at: values, interval, attention."""

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.data.panel import Panel
from forecaster.store.forecasts import history
from forecaster.times.durations import format_duration
from jobs.terminal.sparklines import Attended, Picture

RECENT = 52
"""Values before the cutoff."""
NAMED = 5
"""Places named among those that a forecast looked at."""


def of_first_series(
    conn: Connection, dataset: DatasetConfig, panel: Panel, cutoff: datetime
) -> Picture | None:
    """Return the forecast of the first series at `cutoff`; None when none has one."""
    said = history.read_intervals(conn, dataset.name, since=cutoff, until=cutoff)
    if said.is_empty():
        return None
    series_id = said["series_id"][0]
    shown = said.filter(pl.col("series_id") == series_id)
    picture = Picture(
        series_id=series_id,
        recent=_recent(panel, series_id, cutoff),
        low=shown["q10"].to_list(),
        median=shown["q50"].to_list(),
        high=shown["q90"].to_list(),
    )
    weights = history.read_attention(conn, dataset.name, cutoff)
    if weights.is_empty():  # a naive forecast serves
        return picture
    first = weights.filter(pl.col("series_id") == series_id).row(0, named=True)
    starts = panel.grid.timestamp_at(panel.grid.index_at(cutoff) + first["step_from"])
    return replace(
        picture,
        attended_for=f"{first['step_from']}-{first['step_to']}",
        attended=_attended(
            history.read_patches(conn, dataset.name, cutoff),
            first["weights"],
            starts=starts,
            dataset=dataset,
        ),
    )


def _recent(panel: Panel, series_id: str, cutoff: datetime) -> list[float]:
    row = panel.series_ids.index(series_id)
    end = panel.grid.index_at(cutoff) - panel.start + 1
    deviations = panel.deviations[row, max(0, end - RECENT) : end].double()
    return (panel.offset[row] + panel.scale[row] * deviations).tolist()


def _attended(
    patches: pl.DataFrame, weights: list[float], *, starts: datetime, dataset: DatasetConfig
) -> list[Attended]:
    """Return the heaviest sources; `starts` is the first forecast instant they stand for."""
    labels = [
        _label(patch["context_from"], patch["context_to"], starts, dataset)
        for patch in patches.iter_rows(named=True)
    ]
    everything = [
        Attended(label=label, weight=weight)
        for label, weight in zip([*labels, "last value", "level"], weights, strict=True)
    ]
    return sorted(everything, key=lambda attended: -attended.weight)[:NAMED]


def _label(first: datetime, last: datetime, starts: datetime, dataset: DatasetConfig) -> str:
    length = starts - first
    if dataset.step.is_calendar:  # across a clock change, days are not whole
        length = timedelta(days=round(length / timedelta(days=1)))
    earlier = f"{format_duration(length)} earlier"
    return f"{local(first, dataset)} … {local(last, dataset)}  {earlier}"


def local(instant: datetime, dataset: DatasetConfig) -> str:
    """Return an instant on the clock of the dataset; the date alone where steps are days."""
    shown = instant.astimezone(ZoneInfo(dataset.timezone or "UTC"))
    return f"{shown:%Y-%m-%d}" if dataset.step.is_calendar else f"{shown:%a %Y-%m-%d %H:%M}"
