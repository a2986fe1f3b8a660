"""CachedPanel panels: what each dataset's next forecast looks at, kept in memory between ticks.

A tick costs what its new rows cost: rows that were landed are handed over as they are landed. When
somebody else landed in between, or after a start, a panel is read anew from our own observations.
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
    """One panel, and what was landed since it was last looked at."""

    panel: RollingPanel
    mark: datetime | None
    """It knows of all landings up to this one."""
    newest_read: datetime | None
    """The newest observation when it was read: what came since is `waiting`."""
    waiting: list[pl.DataFrame] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether `waiting` holds everything that was landed after the panel's end."""
        return self.newest_read is None or self.newest_read <= self.panel.until

    def take(self, landing: IngestResult) -> bool:
        """Queue what was landed; False if something before it was missed, or it is too much."""
        if landing.recorded_at == landing.before:
            return True
        if landing.before != self.mark:
            return False
        self.waiting.append(landing.changes)
        self.mark = landing.recorded_at
        return sum(rows.height for rows in self.waiting) <= _MOST_WAITING

    def due(self, until: datetime) -> pl.DataFrame:
        """Take out the queued rows up to `until`, the newest version of each."""
        queued = pl.concat([pl.DataFrame(schema=CELLS), *self.waiting])
        is_due = pl.col("timestamp") <= until
        self.waiting = [queued.filter(~is_due)]
        return queued.filter(is_due).unique(_KEY, keep="last", maintain_order=True).sort(_KEY)


class PanelCache:
    """One resident panel for each dataset that was forecast."""

    def __init__(self) -> None:
        self._residents: dict[str, CachedPanel] = {}
        self._names: dict[str, dict[int, str]] = {}

    def take(self, dataset: str, landing: IngestResult) -> None:
        """Hand over what was landed, after its transaction."""
        resident = self._residents.get(dataset)
        if resident is not None and not resident.take(landing):
            del self._residents[dataset]

    def at(self, conn: Connection, dataset: str, spec: ModelSpec, until: datetime) -> RollingPanel:
        """Return the panel of everything that was observed up to `until`.

        One that has gone further is kept for later ticks, and another one is read.
        """
        reached = datasets.ingest_state(conn, dataset)
        resident = self._residents.pop(dataset, None)
        if resident is not None and not _is_of(resident, spec, reached):
            resident = None
        if resident is not None and until < resident.panel.until:
            self._residents[dataset] = resident
            return _read(conn, dataset, spec, until, reached).panel
        if resident is None:
            resident = _read(conn, dataset, spec, until, reached)
        else:
            _update(conn, dataset, resident, until)
        self._residents[dataset] = resident
        return resident.panel

    def names(self, conn: Connection, dataset: str, panel: RollingPanel) -> dict[int, str]:
        """Return the text keys of all series by their integer keys, which never change."""
        known = self._names.get(dataset, {})
        if len(known) < len(panel.ids) or not known.keys() >= set(panel.ids.tolist()):
            keys = datasets.keys(conn, dataset)
            known = self._names[dataset] = dict(zip(keys["id"], keys["key"], strict=True))
        return known


def _is_of(resident: CachedPanel, spec: ModelSpec, reached: IngestState) -> bool:
    """Tell whether a panel is what this model looks at, and nobody else has landed since."""
    panel = resident.panel
    is_alike = panel.grid == spec.grid() and panel.length == spec.context_length
    return is_alike and resident.mark == reached.landed_at


def _read(
    conn: Connection, dataset: str, spec: ModelSpec, until: datetime, reached: IngestState
) -> CachedPanel:
    """Read the newest steps of every series, some series at a time."""
    grid, length = spec.grid(), spec.context_length
    ids = datasets.keys(conn, dataset)["id"].sort().to_numpy()
    panel = RollingPanel(grid, length, until, ids)
    since = grid.first_of(panel.start)
    for rows in observations.read_cells(conn, dataset, since=since, until=until, steps=length):
        found = rows["series_id"].unique().sort().to_numpy()
        panel.replace(StaleCells(ids=found, first=panel.start, last=panel.end), rows)
    return CachedPanel(panel=panel, mark=reached.landed_at, newest_read=reached.newest_observation)


def _update(conn: Connection, dataset: str, resident: CachedPanel, until: datetime) -> None:
    """Move the end to `until`, and take in what was landed up to there."""
    panel, passed = resident.panel, resident.panel.until
    due, was_complete = resident.due(until), resident.is_complete
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
    found = observations.read_some_cells(conn, cells.ids.tolist(), since=since, until=until)
    panel.replace(cells, found)
