"""Resident panels: what each dataset's next forecast looks at, kept in memory between ticks.

A tick costs what its new rows cost: rows that were landed are handed over as they are landed. When
somebody else landed in between, or after a start, a panel is read anew from our own observations.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import Connection

from forecaster.model.spec import ModelSpec
from forecaster.series.grid import Grid
from forecaster.series.resident import Contested, ResidentPanel
from forecaster.store import datasets, observations
from forecaster.store.observations import Landing
from forecaster.store.probes import CELLS

_MOST_WAITING = 10_000_000
_MICROSECOND = timedelta(microseconds=1)
_KEY = ["series_id", "timestamp"]


@dataclass(slots=True, kw_only=True)
class Resident:
    """One panel, and what was landed since it was last looked at."""

    panel: ResidentPanel
    mark: datetime | None
    """It knows of all landings up to this one."""
    is_complete: bool
    """Whether `waiting` holds everything that was landed after the panel's end."""
    waiting: list[pl.DataFrame] = field(default_factory=list)

    def take(self, landing: Landing) -> bool:
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


class Panels:
    """One resident panel for each dataset that was forecast."""

    def __init__(self) -> None:
        self._residents: dict[str, Resident] = {}
        self._names: dict[str, dict[int, str]] = {}

    def take(self, dataset: str, landing: Landing) -> None:
        """Hand over what was landed, after its transaction."""
        resident = self._residents.get(dataset)
        if resident is not None and not resident.take(landing):
            del self._residents[dataset]

    def at(self, conn: Connection, dataset: str, spec: ModelSpec, until: datetime) -> ResidentPanel:
        """Return the panel of everything that was observed up to `until`."""
        resident = self._residents.pop(dataset, None)
        reached = datasets.landed(conn, dataset)
        if (
            resident is None
            or not _serves(resident, spec.grid(), spec.context_length, until)
            or (resident.mark != reached.landed_at)
        ):
            resident = _read(conn, dataset, spec.grid(), spec.context_length, until)
        else:
            _update(conn, dataset, resident, until)
        newest = reached.newest_observation
        resident.is_complete |= newest is None or newest <= until
        self._residents[dataset] = resident
        return resident.panel

    def names(self, conn: Connection, dataset: str, panel: ResidentPanel) -> dict[int, str]:
        """Return the text keys of all series by their integer keys, which never change."""
        known = self._names.get(dataset, {})
        if len(known) < len(panel.ids) or not known.keys() >= set(panel.ids.tolist()):
            keys = datasets.keys(conn, dataset)
            known = self._names[dataset] = dict(zip(keys["id"], keys["key"], strict=True))
        return known


def _serves(resident: Resident, grid: Grid, length: int, until: datetime) -> bool:
    panel = resident.panel
    return panel.grid == grid and panel.length == length and panel.until <= until


def _read(conn: Connection, dataset: str, grid: Grid, length: int, until: datetime) -> Resident:
    """Read the newest steps of every series, some series at a time."""
    ids = datasets.keys(conn, dataset)["id"].sort().to_numpy()
    panel = ResidentPanel(grid, length, until, ids)
    since = grid.timestamp_at(panel.start)
    blocks = observations.read_cells(conn, dataset, since=since, until=until, steps=length)
    for rows in blocks:
        whole = Contested(
            ids=rows["series_id"].unique().sort().to_list(), first=panel.start, last=panel.end
        )
        panel.replace(whole, rows)
    mark = datasets.landed(conn, dataset).landed_at
    return Resident(panel=panel, mark=mark, is_complete=False)


def _update(conn: Connection, dataset: str, resident: Resident, until: datetime) -> None:
    """Move the end to `until`, and take in what was landed up to there."""
    panel, passed = resident.panel, resident.panel.until
    due = resident.due(until)
    panel.move(until)
    if resident.is_complete:
        return _apply(conn, panel, due)
    _apply(conn, panel, due.filter(pl.col("timestamp") <= passed))
    since = max(passed + _MICROSECOND, panel.grid.timestamp_at(panel.start))
    steps = panel.length
    for rows in observations.read_cells(conn, dataset, since=since, until=until, steps=steps):
        _apply(conn, panel, rows)
    return None


def _apply(conn: Connection, panel: ResidentPanel, rows: pl.DataFrame) -> None:
    contested = panel.apply(rows)
    if contested is not None:
        since, behind = (panel.grid.timestamp_at(i) for i in (contested.first, contested.last + 1))
        until = min(panel.until, behind - _MICROSECOND)
        found = observations.read_some_cells(conn, contested.ids, since=since, until=until)
        panel.replace(contested, found)
