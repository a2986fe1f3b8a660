"""What was known at past ticks, read from the versions of observations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.data.point_in_time import Array, PointInTime, point_in_time
from forecaster.data.snapshots import Snapshots, fill
from forecaster.network.spec import ModelSpec
from forecaster.schemas import INSTANT
from forecaster.store.forecasts.backfills import ForecastRun
from forecaster.store.observations import versions
from forecaster.store.state import datasets
from forecaster.times.durations import MICROSECOND
from jobs.retrain import known_at, read_versions

MOST_CELLS = 40_000_000
"""Of a past in memory: twelve bytes each."""
MOST_TICKS = 200_000
"""Of one segment: several times their cells where many of them have one cutoff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Ticks whose past is in memory at the same time.

    `ends` are the grid indices of their cutoffs, `places` their indices among the ticks of
    `knowledge`, `scoring` the indices of the ticks of the job `score`. Series have `names` by their
    integer keys, and `ids` by their names.
    """

    ticks: Sequence[datetime]
    ends: Sequence[int]
    places: Array
    scoring: Array
    knowledge: PointInTime
    past: Snapshots
    names: Mapping[int, str]
    ids: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHistory:
    """The stored versions of a dataset's observations, read as they were known at past ticks."""

    dataset: DatasetConfig
    ran: Mapping[datetime, ForecastRun]
    now: datetime
    known_after: timedelta
    """How long after its timestamp a value counts as known that was ingested long afterwards."""
    cells: int = MOST_CELLS

    def segments(
        self, ticks: Sequence[datetime], spec: ModelSpec, series: int
    ) -> list[Sequence[datetime]]:
        """Cut ticks so that the past of each part fits into memory; equal cutoffs stay together."""
        ends = spec.grid().complete_at([tick - self.dataset.delay for tick in ticks])
        room = self.cells // max(1, series) - _margin(spec) - spec.prediction_length

        def is_full(first: int, place: int) -> bool:
            return place - first >= MOST_TICKS or ends[place] - ends[first] > room

        return [ticks[part] for part in cut(ends, is_full)]

    def read(self, conn: Connection, ticks: Sequence[datetime], spec: ModelSpec) -> Segment:
        """Read what was known at each of `ticks`, and when their forecasts could be scored."""
        grid, dataset = spec.grid(), self.dataset
        ends = grid.complete_at([tick - dataset.delay for tick in ticks])
        cells = range(ends[0] - _margin(spec) + 1, ends[-1] + spec.prediction_length + 2)
        since, until = grid.first_of(cells.start), grid.timestamp_at(cells.stop)
        resumed = versions.next_instant(conn, dataset.name, until) or until
        scoring = self._score_ticks(ticks, resumed)
        axis = sorted({*ticks, *scoring})
        place = {tick: number for number, tick in enumerate(axis)}
        known = self.knowledge(axis)
        keys = datasets.keys(conn, dataset.name)
        past = Snapshots(grid, np.sort(keys["id"].to_numpy()), cells, len(axis))
        rows = versions.read(conn, dataset.name, since=since, until=until, steps=len(cells))
        later = versions.first_of_each_instant(conn, dataset.name, after=until, until=axis[-1])
        past.record_ingested(later, known.first_known(later))
        return Segment(
            ticks=ticks,
            ends=ends,
            places=np.array([place[tick] for tick in ticks], np.int64),
            scoring=np.array([place[tick] for tick in scoring], np.int64),
            knowledge=known,
            past=fill(rows, past, known),
            names=dict(zip(keys["id"], keys["key"], strict=True)),
            ids=dict(zip(keys["key"], keys["id"], strict=True)),
        )

    def read_cells(
        self, tick: datetime, conn: Connection, since: datetime
    ) -> Iterator[pl.DataFrame]:
        """Return CELLS from `since` on, of whole series, that a training at `tick` would read."""
        until, known = known_at(self.dataset, tick), self.knowledge([tick])
        steps = (until - since) // self.dataset.step.approximate + 1
        name = self.dataset.name
        for rows in versions.read(conn, name, since=since, until=until, steps=steps):
            was_known = pl.Series(known.first_known(rows).place == 0)
            newest = rows.filter(was_known).unique(
                ["series_id", "timestamp"], keep="last", maintain_order=True
            )
            yield newest.drop_nulls("value").drop("recorded_at")

    def recent_versions(self, conn: Connection, tick: datetime) -> pl.DataFrame:
        """Return the newest VERSIONS of some series that a training at `tick` would have read."""
        reached = pl.lit(self.knowledge([tick]).recorded[0]).cast(INSTANT)
        return read_versions(conn, self.dataset, tick).filter(pl.col("recorded_at") <= reached)

    def knowledge(self, axis: Sequence[datetime]) -> PointInTime:
        """Return what was known at some ticks."""
        marks = {tick: run.known_to for tick, run in self.ran.items() if tick >= axis[0]}
        return point_in_time(axis, marks, delay=self.dataset.delay, late_data=self.known_after)

    def _score_ticks(self, ticks: Sequence[datetime], end: datetime) -> list[datetime]:
        """Return the past ticks at which the forecasts could be scored."""
        schedule, wait = self.dataset.forecast_schedule, self.dataset.delay + self.dataset.late_data
        last = schedule.after(end + wait + _SLACK)
        return schedule.between(ticks[0] - MICROSECOND, min(last, schedule.floor(self.now)))


_SLACK = timedelta(days=1)
"""How late something newer may come in after an outage of the source."""


def _margin(spec: ModelSpec) -> int:
    """Return how many cells before a cutoff matter: for a forecast, and for seasonal naive."""
    return max(spec.context_length, spec.season_length)


def cut(ends: Sequence[int], is_full: Callable[[int, int], bool]) -> Iterator[slice]:
    """Cut a sequence before each place where `is_full(first, place)`; equal ends stay together."""
    first = 0
    for place in range(1, len(ends) + 1):
        if place == len(ends) or (ends[place] != ends[place - 1] and is_full(first, place)):
            yield slice(first, place)
            first = place
