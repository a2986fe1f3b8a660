"""A range of ticks replayed live, one tick at a time and row by row; and the same backfilled."""

import json
import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import polars as pl
from sqlalchemy import Engine, delete, select, text

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.schemas import OBSERVATIONS
from forecaster.store import tables
from forecaster.store.connection.engine import writing
from forecaster.store.observations import observations
from jobs.backfill.plan import BackfillRequest
from jobs.backfill.report import BackfillReport
from jobs.backfill.run import Work, run
from tests.jobs.fitting import fit_once
from tests.jobs.small import DATASET, HOUR, LAST, START, World
from tests.tolerance import within

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
TICKS = 20
RETRAINED = 9
"""After so many ticks another champion comes."""
SAID = {
    tables.forecast_steps: ("series_id", "cutoff", "model_id", "step"),
    tables.attention: ("series_id", "cutoff", "model_id", "step_from"),
    tables.attention_patches: ("cutoff", "model_id", "patch"),
    tables.accuracy: ("series_id", "cutoff", "model_id", "lead"),
}
SCALES = {"forecast_steps": 28.0, "attention": 1.0, "attention_patches": 1.0, "accuracy": 28.0}
"""Of the numbers in a table: weights are shares, the series go up to 20 + 8."""
BESIDE = ("issued_at", "origin", "scored_at")
QUERY = "SELECT station AS series_id, hour AS timestamp, rentals AS value FROM trips"

Rows = dict[tuple[object, ...], dict[str, Any]]
Said = dict[str, Rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One row that comes in, as new or in place of what was said before."""

    at: datetime
    series_id: str
    timestamp: datetime
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happens to a dataset: step by step, from a first training on."""

    dataset: DatasetConfig = DATASET
    stamp: Callable[[float], datetime] = lambda step: START + step * HOUR
    """When the step with a number begins."""
    late: Sequence[timedelta] = (30 * MINUTE, 90 * MINUTE, 5 * HOUR)
    lateness: float = 0.15
    """How many rows come late."""
    within: Sequence[float] = (0.0,)
    """Where in a step rows lie."""
    last: int = LAST
    """The newest step that the first model is trained on."""
    ticks: int = TICKS
    outage: range = range(0)
    """Steps at which nothing was observed."""
    retrained: int = RETRAINED
    seed: int = 0

    @property
    def trained_at(self) -> datetime:
        return self.stamp(self.last)

    @property
    def range(self) -> Sequence[datetime]:
        """The ticks."""
        return self.dataset.forecast_schedule.between(
            self.trained_at, self.stamp(self.last + self.ticks)
        )

    @property
    def arrivals(self) -> list[Arrival]:
        """What comes in when, the newest last."""
        luck = random.Random(self.seed)
        steps = range(self.last - 250, self.last + self.ticks + 1)
        found = [
            arrival
            for name, first, end in (
                ("a", 0, math.inf),
                ("silent", 0, self.last + 8),
                ("rare", 0, math.inf),
                ("newcomer", self.last - 150, math.inf),
                ("starter", self.last + 2, math.inf),
            )
            for step in steps
            if first <= step <= end and step not in self.outage
            if name != "rare" or luck.random() < 0.7
            for arrival in self._of_step(luck, name, step)
        ]
        return sorted(found, key=lambda each: (each.at, each.series_id, each.timestamp))

    def _of_step(self, luck: random.Random, name: str, step: int) -> list[Arrival]:
        arrivals = []
        for part in self.within:
            at = self.stamp(step + part)
            value = 20 + 8 * math.sin(math.tau * step / 24) + luck.gauss(0, 1 + part)
            comes = at + luck.choice(self.late) * (luck.random() < self.lateness)
            if name == "newcomer":  # with all of its past at once
                comes = max(comes, self.stamp(self.last + 2.5))
            arrivals.append(Arrival(at=comes, series_id=name, timestamp=at, value=value))
            while luck.random() < 0.1:
                comes += luck.choice((10 * MINUTE, 3 * HOUR, 8 * HOUR))
                said = None if luck.random() < 0.3 else value + luck.choice((5, -3))
                arrivals.append(Arrival(at=comes, series_id=name, timestamp=at, value=said))
        return arrivals


class Source:
    """Where rows come in: our own observations, or a table that every tick reads."""

    def __init__(self, engine: Engine, story: Story, *, one_by_one: bool = True) -> None:
        self._engine, self._dataset, self._one_by_one = engine, story.dataset, one_by_one
        self._waiting = story.arrivals
        if self._dataset.query is not None:
            with writing(engine) as conn:
                conn.execute(text("CREATE TABLE trips (station TEXT, hour TEXT, rentals REAL)"))

    def reach(self, instant: datetime, *, at_once: bool = False) -> None:
        """Let in what comes up to an instant."""
        coming = [each for each in self._waiting if each.at <= instant]
        self._waiting = self._waiting[len(coming) :]
        if self._dataset.query is not None:
            self._write(coming)
        elif at_once:
            newest = {(each.series_id, each.timestamp): each for each in coming}
            self._land([*newest.values()], instant)
        elif self._one_by_one:
            for each in coming:
                self._land([each], each.at)
        else:
            for at, together in groupby(coming, lambda each: each.at):
                self._land([*together], at)

    def _land(self, arrivals: Collection[Arrival], at: datetime) -> None:
        frame = pl.DataFrame(
            [(each.series_id, each.timestamp, each.value) for each in arrivals],
            schema=OBSERVATIONS,
            orient="row",
        )
        with writing(self._engine) as conn:
            observations.ingest(
                conn, self._dataset.name, frame.sort("series_id", "timestamp"), recorded_at=at
            )

    def _write(self, arrivals: Sequence[Arrival]) -> None:
        newest = {
            (each.series_id, f"{each.timestamp:%Y-%m-%d %H:%M:%S}"): each.value for each in arrivals
        }
        rows = [{"s": name, "t": at, "v": value} for (name, at), value in newest.items()]
        if not rows:
            return
        with writing(self._engine) as conn:
            conn.execute(text("DELETE FROM trips WHERE station = :s AND hour = :t"), rows)
            conn.execute(text("INSERT INTO trips VALUES (:s, :t, :v)"), rows)


def live(engine: Engine, story: Story) -> World:
    """Run every tick of a story as it comes, a second late."""
    world, source = World(engine=engine, dataset=story.dataset), Source(engine, story)
    source.reach(story.trained_at, at_once=True)
    _succeed(world, "retrain", story.trained_at)
    for number, tick in enumerate(story.range):
        source.reach(tick)
        _succeed(world, "forecast", tick)
        _succeed(world, "score", tick)
        if number == story.retrained:
            _succeed(world, "retrain", tick)
    return world


def _succeed(world: World, job: str, tick: datetime) -> None:
    outcome = world.tick(job, tick)
    assert outcome.result == "succeeded", outcome.error


def backfill(
    engine: Engine,
    story: Story,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    jobs: int = 1,
    **wanted: Any,
) -> BackfillReport:
    """Backfill the range of a story, or a part of it, just after its last tick."""
    ticks = story.range
    work = Work(
        engine=engine,
        dataset=story.dataset,
        retention=RetentionConfig(),
        fit=fit_once,
        clock=lambda: ticks[-1] + 2 * SECOND,
        jobs=jobs,
    )
    asked = BackfillRequest(since=since or ticks[0], until=until or ticks[-1])
    report = run(work, replace(asked, **wanted))
    assert report.failures == ()
    return report


def forget(engine: Engine) -> None:
    """Delete everything that was said; what was observed, and which ticks ran, stays."""
    with writing(engine) as conn:
        for table in (
            tables.forecasts,
            tables.forecast_timestamps,
            tables.attention,
            tables.attention_patches,
            tables.accuracy,
        ):
            conn.execute(delete(table))
        conn.execute(text("DELETE FROM runs WHERE job LIKE 'backfill%'"))


def said(engine: Engine) -> Said:
    """Everything that was said, by its key."""
    found: Said = {}
    with engine.connect() as conn:
        for table, key in SAID.items():
            rows = [dict(row) for row in conn.execute(select(table)).mappings()]
            found[table.name] = {tuple(row[part] for part in key): row for row in rows}
    return found


def differences(expected: Mapping[str, Rows], found: Mapping[str, Rows]) -> list[str]:
    """What differs: keys that one side lacks, and values by more than rounding."""
    lines = []
    for name, ours in expected.items():
        theirs = found[name]
        lines += [f"{name}: lacks {key}" for key in sorted(ours.keys() - theirs.keys(), key=str)]
        lines += [f"{name}: adds {key}" for key in sorted(theirs.keys() - ours.keys(), key=str)]
        for key in ours.keys() & theirs.keys():
            lines += [
                f"{name} {key}: {column} is {theirs[key][column]}, not {value}"
                for column, value in ours[key].items()
                if column not in BESIDE and not _alike(value, theirs[key][column], SCALES[name])
            ]
    return lines


def _alike(one: Any, other: Any, scale: float) -> bool:
    if isinstance(one, str) and one.startswith("["):
        one, other = json.loads(one), json.loads(other)
    if isinstance(one, list):
        return all(_alike(*pair, scale) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= within(max(scale, abs(one)))
    return bool(one == other)
