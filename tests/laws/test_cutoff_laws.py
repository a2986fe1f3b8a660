"""What a live tick looks at is what a training sees of the same cells: the newest one included."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from forecaster.config.settings import DatasetConfig
from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, build
from forecaster.data.running_totals import are_sums
from forecaster.data.timestamp_marks import grid_of
from forecaster.network.spec import ModelSpec
from forecaster.schemas import OBSERVATIONS
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from forecaster.times.durations import Step
from jobs import retrain
from jobs.stages import pull, pull_progress
from jobs.stages.panel_cache import PanelCache
from tests.jobs.small import DATASET, World, hour
from tests.network.networks import small_spec

pytestmark = pytest.mark.quick_on("sqlite")

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
EXAMPLES = count()
CELLS = 90
SCALES = {"a": 2.0, "b": 2.0}


@dataclass(frozen=True)
class Shape:
    """How the rows of a history lie."""

    every: timedelta
    phase: timedelta = timedelta(0)
    jitter: tuple[int, ...] = (0,)
    """Seconds by which rows move, in turn."""
    marks: str | None = None

    def stamps(self) -> list[datetime]:
        rows = CELLS * HOUR // self.every
        return [
            hour(0)
            + self.phase
            + number * self.every
            + self.jitter[number % len(self.jitter)] * SECOND
            for number in range(rows)
        ]

    def rows(self) -> pl.DataFrame:
        found = [
            (name, stamp, float((7 * number + len(name)) % 31))
            for name in SCALES
            for number, stamp in enumerate(self.stamps())
        ]
        return pl.DataFrame(found, schema=OBSERVATIONS, orient="row").sort("series_id", "timestamp")


JITTERS = st.lists(st.integers(0, 40), min_size=1, max_size=7).map(tuple)
SHAPES = st.builds(
    Shape,
    st.sampled_from([5 * MINUTE, 20 * MINUTE, 30 * MINUTE, HOUR]),
    st.integers(0, 59).map(lambda minutes: minutes * MINUTE),
    JITTERS,
    st.sampled_from([None, None, "instant", "start", "end"]),
)
LOOKS = st.lists(st.integers(60 * 60, CELLS * 60), min_size=1, max_size=4).map(sorted)


def spec_on(grid: Grid) -> ModelSpec:
    return small_spec(
        step=str(grid.step),
        anchor=grid.anchor,
        timestamp_marks=grid.marks,
        spread=grid.spread,
    )


def trained_on(rows: pl.DataFrame, spec: ModelSpec, end: int) -> Panel:
    """The cells that a training would see up to `end`, when everything is in."""
    return build(
        rows,
        spec.grid(),
        season_length=spec.season_length,
        start=end - spec.context_length + 1,
        end=end,
        scales=SCALES,
    )


def looked_at(
    engine: Engine, dataset: str, panels: PanelCache, spec: ModelSpec, known: datetime
) -> Panel:
    """The context of a tick that may use rows up to `known`."""
    with reading(engine) as conn:
        resident = panels.at(conn, dataset, spec, spec.grid().known(known))
        names = panels.names(conn, dataset, resident)
        [found] = resident.panels(names, season_length=spec.season_length, scales=SCALES)
    return found


def assert_same(live: Panel, trained: Panel) -> None:
    assert (live.start, live.end) == (trained.start, trained.end)
    assert live.series_ids == trained.series_ids
    assert torch.equal(
        live.deviations.nan_to_num(nan=-7.0), trained.deviations.nan_to_num(nan=-7.0)
    )
    assert live.counts == trained.counts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(shape=SHAPES, looks=LOOKS, delay=st.sampled_from([0, 1, 15]))
def test_a_tick_uses_complete_cells_however_rows_lie(
    engine: Engine, shape: Shape, looks: Sequence[int], delay: int
) -> None:
    dataset, panels, rows = f"meters {next(EXAMPLES)}", PanelCache(), shape.rows()
    spec = spec_on(grid_of(rows, Step.parse("1h"), "UTC", marks=shape.marks))
    landed = hour(-1)
    for minute in looks:
        tick = hour(0) + minute * MINUTE
        known = tick - delay * MINUTE
        coming = rows.filter(pl.col("timestamp").is_between(landed, known, closed="right"))
        with writing(engine) as conn:
            landing = observations.ingest(conn, dataset, coming, recorded_at=tick)
        panels.take(dataset, landing)
        landed = known

        live = looked_at(engine, dataset, panels, spec, known)

        assert_same(live, trained_on(rows, spec, live.end))
        assert spec.grid().timestamp_at(live.end) >= known - 2 * HOUR


BUCKET = {
    "sqlite": "strftime('%Y-%m-%d %H:00', at)",
    "postgresql": "date_trunc('hour', at)",
}


@pytest.mark.parametrize("after", [0, 2, 1800, 3599], ids=lambda seconds: f"{seconds}s")
def test_a_tick_uses_complete_buckets_of_a_query(engine: Engine, after: int) -> None:
    bucket = BUCKET[engine.dialect.name]
    dataset = replace(
        DATASET,
        query=f"SELECT 'a' AS series_id, {bucket} AS timestamp, count(*) AS value FROM events "
        "WHERE at >= :since AND at <= :until\nGROUP  BY 2",
        timezone="UTC",
    )
    stamps = [hour(0) + number * 7 * MINUTE for number in range(CELLS * 60 // 7)]
    panels, looks = PanelCache(), [hour(number) + after * SECOND for number in range(70, 74)]
    _let_happen(engine, stamps[:1], created=False)
    happened = 1

    contexts = []
    for tick in looks:
        fresh = [stamp for stamp in stamps[happened:] if stamp <= tick]
        happened += len(fresh)
        _let_happen(engine, fresh)
        _pull(engine, dataset, tick, panels)
        with reading(engine) as conn:
            spec = spec_on(
                grid_of(
                    observations.read(conn, dataset.name),
                    dataset.step,
                    "UTC",
                    are_sums=dataset.groups,
                )
            )
        contexts.append(looked_at(engine, dataset.name, panels, spec, tick))
    _let_happen(engine, stamps[happened:])
    _pull(engine, dataset, hour(CELLS), panels)

    with reading(engine) as conn:
        everything = observations.read(conn, dataset.name)
    for tick, context in zip(looks, contexts, strict=True):
        assert spec.grid().timestamp_at(context.end) == hour((tick - hour(0)) // HOUR - 1)
        assert_same(context, trained_on(everything, spec, context.end))


def _let_happen(engine: Engine, stamps: Sequence[datetime], *, created: bool = True) -> None:
    kind = "timestamp" if engine.dialect.name == "postgresql" else "text"
    with writing(engine) as conn:
        if not created:
            conn.execute(text(f"CREATE TABLE events (at {kind})"))
        if stamps:
            rows = [{"at": f"{stamp:%Y-%m-%d %H:%M:%S}"} for stamp in stamps]
            conn.execute(text("INSERT INTO events VALUES (:at)"), rows)


def _pull(engine: Engine, dataset: DatasetConfig, now: datetime, panels: PanelCache) -> None:
    report = pull.run(engine, dataset, now=now, on_ingest=panels.take)
    with writing(engine) as conn:
        pull_progress.advance(conn, dataset.name, report)


@pytest.mark.parametrize("are_counts", [True, False], ids=["counts", "readings"])
@pytest.mark.slow
def test_counts_behind_a_view_are_detected_by_how_they_were_corrected(
    engine: Engine, are_counts: bool
) -> None:
    bucket = BUCKET[engine.dialect.name] if are_counts else "at"
    select = f"SELECT 'a' AS series_id, {bucket} AS timestamp, count(*) AS value FROM events"
    dataset = replace(DATASET, query="SELECT * FROM hourly", timezone="UTC")
    every = 7 * MINUTE if are_counts else HOUR
    stamps = [hour(0) + number * every for number in range(440 * HOUR // every)]
    past = hour(399)
    _let_happen(engine, [stamp for stamp in stamps if stamp <= past], created=False)
    with writing(engine) as conn:
        conn.execute(text(f"CREATE VIEW hourly AS {select} GROUP BY 1, 2"))
    world = World(engine=engine, dataset=dataset)

    found = []
    for number in range(400, 430):
        tick = hour(number) + 2 * SECOND
        _let_happen(engine, [stamp for stamp in stamps if past < stamp <= tick])
        past = tick
        if number in (400, 429):
            outcome = world.tick("retrain", hour(number), now=tick)
            assert outcome.result == "succeeded", outcome.error
            champion = world.champions.serving(engine, dataset, now=tick)
            found.append(champion.model.spec.timestamp_marks)
        _pull(engine, dataset, tick, world.panels)

    assert found == (["instant", "start"] if are_counts else ["instant", "instant"])
    with reading(engine) as conn:
        recent_versions = retrain.read_versions(conn, dataset, hour(429))
    assert are_sums(recent_versions, dataset.step) is are_counts
