"""What a soak must have left behind: every tick of every dataset, once and whole."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import Connection, Engine, Table, func, select

from forecaster.store import tables
from forecaster.store.connection.engine import reading
from tests.faults.soak.stage import DATASETS, HORIZON, SERIES

SECOND = timedelta(seconds=1)
MISSED_AT_MOST = 0.02
"""The share of ticks that may be given up, each with its reason."""


class Tick(NamedTuple):
    """One tick of one dataset, as the run rows have it."""

    instant: datetime
    state: str
    error: str | None
    token: int | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was counted in a database after a soak."""

    ticks: int
    lost: list[str]
    missed: Counter[str]
    """By reason."""
    doubled: list[str]
    half_written: list[str]
    tokens_fallen: list[str]
    lateness: list[float]
    """Seconds from each tick to its commit, sorted."""
    trainings: Mapping[str, int]
    """By state."""

    def violations(self) -> Iterator[str]:
        """Yield what must not be."""
        yield from (f"lost: {each}" for each in self.lost)
        yield from (f"doubled: {each}" for each in self.doubled)
        yield from (f"half-written: {each}" for each in self.half_written)
        yield from (f"token fell: {each}" for each in self.tokens_fallen)
        if self.missed.total() > MISSED_AT_MOST * self.ticks or "" in self.missed:
            yield f"missed: {dict(self.missed)}"
        if not self.ticks:
            yield "no tick at all"


def findings(engine: Engine, said: Counter[tuple[str, str]], until: datetime) -> Findings:
    """Look at everything that was written for the ticks up to `until` and after.

    `said` is how often each tick was said to be done.
    """
    with reading(engine) as conn:
        ticks = {name: _ticks(conn, name) for name in DATASETS}
        half_written = [each for name in DATASETS for each in _half_written(conn, name, ticks)]
        trainings = _trainings(conn)
    every = [tick for found in ticks.values() for tick in found]
    states = Counter(tick.error or "" for tick in every if tick.state == "missed")
    return Findings(
        ticks=len(every),
        lost=[each for name, found in ticks.items() for each in _lost(name, found, until)],
        missed=states,
        doubled=[f"{name} {tick} said {count} times" for (name, tick), count in said.items()
                 if count > 1],
        half_written=half_written,
        tokens_fallen=[each for name, found in ticks.items() for each in _fallen(name, found)],
        lateness=sorted(
            (tick.finished_at - tick.instant).total_seconds()
            for tick in every
            if tick.finished_at is not None and tick.state == "succeeded"
        ),
        trainings=trainings,
    )  # fmt: skip


def unfinished(engine: Engine, until: datetime) -> int:
    """Return how many forecast ticks up to `until` did not succeed yet."""
    with reading(engine) as conn:
        found = [_ticks(conn, name) for name in DATASETS]
    return sum(_open(ticks, until) for ticks in found)


def _open(ticks: list[Tick], until: datetime) -> int:
    if not ticks:
        return 1
    ended = sum(tick.state in ("succeeded", "missed") for tick in ticks if tick.instant <= until)
    return max(0, (until - ticks[0].instant) // SECOND + 1 - ended)


def _ticks(conn: Connection, dataset: str) -> list[Tick]:
    runs, datasets = tables.runs, tables.datasets
    columns = (runs.c.tick, runs.c.state, runs.c.error, runs.c.token, runs.c.started_at)
    query = (
        select(*columns, runs.c.finished_at)
        .join(datasets)
        .where(datasets.c.name == dataset, runs.c.job == "forecast")
        .order_by(runs.c.tick)
    )
    return [Tick(*row) for row in conn.execute(query)]


def _lost(dataset: str, ticks: list[Tick], until: datetime) -> Iterator[str]:
    if not ticks or ticks[-1].instant < until - SECOND:
        yield f"{dataset}: all after {ticks[-1].instant.isoformat() if ticks else 'the start'}"
    for earlier, later in pairwise(ticks):
        between = (later.instant - earlier.instant) // SECOND - 1
        if between:
            yield f"{dataset}: {between} ticks after {earlier.instant.isoformat()}"
    for tick in ticks:
        if tick.state not in ("succeeded", "missed"):
            yield f"{dataset} {tick.instant.isoformat()} {tick.state}: {tick.error}"


def _fallen(dataset: str, ticks: list[Tick]) -> Iterator[str]:
    """Yield the attempts that began after others under a greater token."""
    began = [tick for tick in ticks if tick.token is not None and tick.started_at is not None]
    began.sort(key=lambda tick: tick.started_at or tick.instant)
    for earlier, later in pairwise(began):
        if (later.token or 0) < (earlier.token or 0):
            yield f"{dataset} {later.instant.isoformat()}: {later.token} after {earlier.token}"


def _half_written(conn: Connection, dataset: str, ticks: Mapping[str, list[Tick]]) -> Iterator[str]:
    """Yield what a tick has too little or too much of."""
    large = {"forecasts": tables.forecast_steps, "attention": tables.attention}
    written = {name: _by_cutoff(conn, table, dataset) for name, table in large.items()}
    written["patches"] = _patches(conn, dataset)
    succeeded = sum(tick.state == "succeeded" for tick in ticks[dataset])
    for table, counts in written.items():
        if len(counts) != succeeded:
            yield f"{dataset}: {succeeded} ticks, {table} of {len(counts)} cutoffs"
        if len(set(counts.values())) > 1:
            yield f"{dataset}: {table} of a cutoff are {sorted(set(counts.values()))}"
    if set(written["forecasts"].values()) - {len(SERIES) * HORIZON}:
        yield f"{dataset}: forecasts of a cutoff are {sorted(set(written['forecasts'].values()))}"


def _by_cutoff(conn: Connection, table: Table, dataset: str) -> dict[datetime, int]:
    query = (
        select(table.c.cutoff, func.count())
        .join(tables.series, tables.series.c.id == table.c.series_id)
        .join(tables.datasets, tables.datasets.c.id == tables.series.c.dataset_id)
        .where(tables.datasets.c.name == dataset)
        .group_by(table.c.cutoff)
    )
    return dict(conn.execute(query).tuples().all())


def _patches(conn: Connection, dataset: str) -> dict[datetime, int]:
    patches = tables.attention_patches
    query = (
        select(patches.c.cutoff, func.count())
        .join(tables.datasets)
        .where(tables.datasets.c.name == dataset)
        .group_by(patches.c.cutoff)
    )
    return dict(conn.execute(query).tuples().all())


def _trainings(conn: Connection) -> dict[str, int]:
    runs = tables.runs
    query = select(runs.c.state, func.count()).where(runs.c.job == "retrain").group_by(runs.c.state)
    return dict(conn.execute(query).tuples().all())
