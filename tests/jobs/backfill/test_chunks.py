"""A chunk of a backfill takes no more of a database, and of memory, than it has to."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import RetentionConfig
from forecaster.inference import checkpoint
from forecaster.store.connection.engine import reading
from forecaster.store.maintenance import partitions
from forecaster.store.state import models
from forecaster.times.durations import Step
from jobs.backfill import known_values
from jobs.backfill.chunks import ServingModel, make, spans
from jobs.backfill.known_values import KnownHistory, Segment
from jobs.backfill.plan import BackfillRequest
from jobs.backfill.report import BackfillReport
from jobs.backfill.run import Work, run
from tests.jobs.fitting import fit_once
from tests.jobs.small import HOUR, LAST, START, World, fixed, hour

pytestmark = pytest.mark.quick_on("postgres")

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def fill(world: World, wanted: BackfillRequest) -> BackfillReport:
    work = Work(
        engine=world.engine,
        dataset=world.dataset,
        retention=RetentionConfig(),
        fit=fit_once,
        clock=fixed(hour(LAST) + HOUR),
    )
    return run(work, wanted)


def oldest_partition(engine: Engine) -> datetime:
    with reading(engine) as conn:
        found = partitions.read(conn, "forecasts") if conn.dialect.name == "postgresql" else []
    return (found and found[0].lower) or START


@pytest.mark.slow
def test_years_without_an_observation_need_no_partitions(trained: World) -> None:
    """Locks on so many are more than a server has."""
    since = START - timedelta(days=4 * 365)

    report = fill(
        trained, BackfillRequest(since=since, until=hour(LAST), every=Step(1, "day"), model="1")
    )

    assert (report.ticks, report.failures) == (report.asked, ())
    assert report.forecasts > 0
    assert oldest_partition(trained.engine) >= START


def known_history(world: World) -> tuple[KnownHistory, ServingModel]:
    history = KnownHistory(dataset=world.dataset, ran={}, now=hour(LAST) + HOUR, known_after=HOUR)
    with reading(world.engine) as conn:
        stored = models.champion(conn, "bikes")
    serving = ServingModel(
        model_id=stored.model_id,
        model=checkpoint.loads(stored.weights, stored.sha256, ()),
        trained_to=stored.trained_to,
        hindsight=False,
    )
    return history, serving


def segment_of(world: World, ticks: list[datetime]) -> tuple[Segment, ServingModel]:
    history, serving = known_history(world)
    with reading(world.engine) as conn:
        return history.read(conn, ticks, serving.model.spec), serving


def test_a_cutoff_of_many_ticks_is_forecast_once(trained: World) -> None:
    """All the others would be thrown away."""
    segment, serving = segment_of(trained, [hour(LAST) + minute * MINUTE for minute in range(60)])

    chunk = make(trained.dataset, segment, slice(0, 60), serving)

    said = [key for part in chunk.parts for key in part.keys.select("series_id", "nth").rows()]
    assert said == [("a", 0), ("b/c", 0)]


def test_a_chunk_spans_a_limited_time(trained: World) -> None:
    ticks = [hour(LAST) - back * DAY for back in range(10)][::-1]
    segment, _ = segment_of(trained, ticks)

    found = [*spans(segment, 12, 3 * DAY)]

    assert found == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_a_stretch_has_a_limited_number_of_ticks(
    trained: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_values, "MOST_TICKS", 3)
    ticks = [hour(LAST) + minute * 20 * MINUTE for minute in range(8)]
    history, serving = known_history(trained)

    found = history.segments(ticks, serving.model.spec, series=2)

    assert found == [ticks[:3], ticks[3:6], ticks[6:]]
