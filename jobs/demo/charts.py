"""The newest forecast of one series for a chart: values, interval, attention."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.data.panel import Panel
from forecaster.store.forecasts import history
from forecaster.times.durations import format_duration
from jobs.demo.screens import Attended, Picture

RECENT = 52
"""Values before the cutoff."""
NAMED = 5
"""Sources of a forecast that are listed."""


def of_first_series(
    conn: Connection, dataset: DatasetConfig, panel: Panel, cutoff: datetime
) -> Picture | None:
    """Return the forecast of the first series at `cutoff`; None when none has one."""
    forecasts = history.read_intervals(conn, dataset.name, since=cutoff, until=cutoff)
    if forecasts.is_empty():
        return None
    series_id = forecasts["series_id"][0]
    shown = forecasts.filter(pl.col("series_id") == series_id)
    picture = Picture(
        series_id=series_id,
        recent=_recent(panel, series_id, cutoff),
        low=shown["q10"].to_list(),
        median=shown["q50"].to_list(),
        high=shown["q90"].to_list(),
    )
    weights = history.read_attention(conn, dataset.name, cutoff)
    if weights.is_empty():  # a naive fallback has none
        return picture
    first = weights.filter(pl.col("series_id") == series_id).row(0, named=True)
    starts = panel.grid.timestamp_at(panel.grid.index_at(cutoff) + first["step_from"])
    patches = history.read_patches(conn, dataset.name, cutoff).iter_rows(named=True)
    labels = [_label(patch, starts, dataset) for patch in patches]
    pairs = zip([*labels, "last value", "level"], first["weights"], strict=True)
    sources = [Attended(label=label, weight=weight) for label, weight in pairs]
    return replace(
        picture,
        attended_for=f"{first['step_from']}-{first['step_to']}",
        attended=sorted(sources, key=lambda attended: -attended.weight)[:NAMED],
    )


def _recent(panel: Panel, series_id: str, cutoff: datetime) -> list[float]:
    row = panel.series_ids.index(series_id)
    end = panel.grid.index_at(cutoff) - panel.start + 1
    deviations = panel.deviations[row, max(0, end - RECENT) : end].double()
    return (panel.offset[row] + panel.scale[row] * deviations).tolist()


def _label(patch: Mapping[str, datetime], starts: datetime, dataset: DatasetConfig) -> str:
    """Return the range of a patch, and how long before the first forecast step it begins."""
    first, last = patch["context_from"], patch["context_to"]
    length = starts - first
    if dataset.step.is_calendar:  # across a clock change, days are not whole
        length = timedelta(days=round(length / timedelta(days=1)))
    return f"{local(first, dataset)} … {local(last, dataset)}  {format_duration(length)} earlier"


def local(instant: datetime, dataset: DatasetConfig) -> str:
    """Return an instant in local time of the dataset; the date alone where steps are days."""
    shown = instant.astimezone(ZoneInfo(dataset.timezone or "UTC"))
    return f"{shown:%Y-%m-%d}" if dataset.step.is_calendar else f"{shown:%a %Y-%m-%d %H:%M}"
