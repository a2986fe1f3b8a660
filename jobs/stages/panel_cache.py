"""Cached panels: the context of each dataset's next forecast, kept in memory between ticks.

A tick costs what its new rows cost: ingested rows are handed over after their transaction. When
another process ingested in between, or after a start, the panel is read again from our own
observations.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import Connection

from forecaster.data.rolling_panel import RollingPanel, StaleCells
from forecaster.network.spec import ModelSpec
from forecaster.store.observations import observations
from forecaster.store.observations.lookup import CELLS
from forecaster.store.observations.observations import IngestResult
from forecaster.store.state import datasets
from forecaster.store.state.datasets import IngestState

_MOST_WAITING = 10_000_000
_MICROSECOND = timedelta(microseconds=1)
_KEY = ["series_id", "timestamp"]
_SERIES_AT_ONCE = 10_000
"""Fewer than a statement of SQLite may have parameters."""


@dataclass(slots=True, kw_only=True)
class CachedPanel:
    """One panel, and the rows that were ingested since it was last updated."""

    panel: RollingPanel
    mark: datetime | None
    """The last ingestion that is part of it, or `waiting`."""
    newest_read: datetime | None
    """The newest observation when it was read: what came since is `waiting`."""
    waiting: list[pl.DataFrame] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether `waiting` holds everything that was ingested after the panel's end."""
        return self.newest_read is None or self.newest_read <= self.panel.until

    def take(self, result: IngestResult) -> bool:
        """Queue ingested rows; False if earlier ones were missed, or there are too many."""
        if result.recorded_at == result.before:
            return True
        if result.before != self.mark:
            return False
        self.waiting.append(result.changes)
        self.mark = result.recorded_at
        return sum(rows.height for rows in self.waiting) <= _MOST_WAITING

    def due(self, until: datetime) -> pl.DataFrame:
        """Remove and return the queued rows up to `until`, the newest version of each."""
        queued = pl.concat([pl.DataFrame(schema=CELLS), *self.waiting])
        is_due = pl.col("timestamp") <= until
        self.waiting = [queued.filter(~is_due)]
        return queued.filter(is_due).unique(_KEY, keep="last", maintain_order=True).sort(_KEY)


class PanelCache:
    """One panel for each dataset that was forecast."""

    def __init__(self) -> None:
        self._panels: dict[str, CachedPanel] = {}
        self._names: dict[str, dict[int, str]] = {}

    def take(self, dataset: str, result: IngestResult) -> None:
        """Hand over ingested rows, after their transaction."""
        cached = self._panels.get(dataset)
        if cached is not None and not cached.take(result):
            del self._panels[dataset]

    def at(self, conn: Connection, dataset: str, spec: ModelSpec, until: datetime) -> RollingPanel:
        """Return the panel of everything that was observed up to `until`.

        One that has gone further is kept for later ticks, and another one is read.
        """
        reached = datasets.ingest_state(conn, dataset)
        cached = self._panels.pop(dataset, None)
        if cached is not None and not _is_of(cached, spec, reached):
            cached = None
        if cached is not None and until < cached.panel.until:
            self._panels[dataset] = cached
            return _read(conn, dataset, spec, until, reached).panel
        if cached is None:
            cached = _read(conn, dataset, spec, until, reached)
        else:
            _update(conn, dataset, cached, until)
        self._panels[dataset] = cached
        return cached.panel

    def names(self, conn: Connection, dataset: str, panel: RollingPanel) -> dict[int, str]:
        """Return the text keys of all series by their integer keys, which never change."""
        known = self._names.get(dataset, {})
        if len(known) < len(panel.ids) or not known.keys() >= set(panel.ids.tolist()):
            keys = datasets.keys(conn, dataset)
            known = self._names[dataset] = dict(zip(keys["id"], keys["key"], strict=True))
        return known


def _is_of(cached: CachedPanel, spec: ModelSpec, reached: IngestState) -> bool:
    """Return whether a panel suits this model, and no other process has ingested since."""
    panel = cached.panel
    is_alike = panel.grid == spec.grid() and panel.length == spec.context_length
    return is_alike and cached.mark == reached.landed_at


def _read(
    conn: Connection, dataset: str, spec: ModelSpec, until: datetime, reached: IngestState
) -> CachedPanel:
    """Read the newest steps of every series, some series at a time."""
    grid, length = spec.grid(), spec.context_length
    ids = datasets.keys(conn, dataset)["id"].sort().to_numpy()
    panel = RollingPanel(grid, length, until, ids)
    since = grid.first_of(panel.start)
    for rows in observations.read_cells(conn, dataset, since=since, until=until, steps=length):
        series = rows["series_id"].unique().sort().to_numpy()
        panel.replace(StaleCells(ids=series, first=panel.start, last=panel.end), rows)
    return CachedPanel(panel=panel, mark=reached.landed_at, newest_read=reached.newest_observation)


def _update(conn: Connection, dataset: str, cached: CachedPanel, until: datetime) -> None:
    """Move the end to `until`, and add the rows that were ingested up to there."""
    panel, passed = cached.panel, cached.panel.until
    due, was_complete = cached.due(until), cached.is_complete
    panel.move(until)
    if was_complete:
        return _apply(conn, panel, due)
    _apply(conn, panel, due.filter(pl.col("timestamp") <= passed))
    since = max(passed + _MICROSECOND, panel.grid.first_of(panel.start))
    steps = panel.length
    for rows in observations.read_cells(conn, dataset, since=since, until=until, steps=steps):
        _apply(conn, panel, rows)
    return None


def _apply(conn: Connection, panel: RollingPanel, rows: pl.DataFrame) -> None:
    for contested in panel.apply(rows):
        for first in range(0, len(contested.ids), _SERIES_AT_ONCE):
            _read_again(conn, panel, contested, slice(first, first + _SERIES_AT_ONCE))


def _read_again(conn: Connection, panel: RollingPanel, contested: StaleCells, part: slice) -> None:
    cells = replace(contested, ids=contested.ids[part])
    since, last = panel.grid.first_of(cells.first), panel.grid.last_of(cells.last)
    until = min(panel.until, last)
    current = observations.read_some_cells(conn, cells.ids.tolist(), since=since, until=until)
    panel.replace(cells, current)
