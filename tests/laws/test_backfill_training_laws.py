"""Models that a backfill trains on its way know nothing of what came after them."""

from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.times.durations import Step
from jobs.backfill.plan import Reprocess
from jobs.backfill.report import BackfillReport
from tests.jobs.replay import MINUTE, SECOND, Source, Story, backfill, differences, forget, said
from tests.jobs.small import DATASET, HOUR

DELAY, EVERY = 30 * MINUTE, Step.parse("6h")
STORY = Story(dataset=replace(DATASET, delay=DELAY), ticks=14, lateness=0.0, seed=30)
TICKS = STORY.range
TRAINED_AT = (TICKS[0], TICKS[6], TICKS[12])


on_one_store = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def young(engine: Engine) -> Engine:
    """A history, and no model."""
    source = Source(engine, STORY, one_by_one=False)
    source.reach(STORY.trained_at, at_once=True)
    source.reach(TICKS[-1] + 24 * HOUR)
    return engine


def trains(engine: Engine, reprocess: Reprocess = "none") -> BackfillReport:
    return backfill(engine, STORY, retrain_every=EVERY, reprocess=reprocess)


def checksums(engine: Engine) -> list[str]:
    """Of all models, in the order of the ticks that they were trained at."""
    models = tables.models.c
    with reading(engine) as conn:
        return [*conn.scalars(select(models.sha256).order_by(models.trained_to))]


def spoil_after(engine: Engine, tick: datetime) -> None:
    """Change what came after a tick less the delay, and correct everything just after the tick."""
    versions = tables.observations
    with writing(engine) as conn:
        newest = {
            (row["series_id"], row["timestamp"]): row
            for row in conn.execute(select(versions).order_by(versions.c.recorded_at)).mappings()
        }
        conn.execute(update(versions).where(versions.c.timestamp > tick - DELAY).values(value=1e4))
        corrections = [
            {**row, "value": 7e3, "recorded_at": max(row["recorded_at"], tick) + SECOND}
            for row in newest.values()
        ]
        conn.execute(insert(versions), corrections)


@on_one_store
def test_a_model_does_not_change_with_what_came_after_it(young: Engine) -> None:
    first = trains(young)
    clean = checksums(young)
    forget(young)
    with writing(young) as conn:
        conn.execute(delete(tables.models))

    spoil_after(young, TRAINED_AT[1])
    second = trains(young)

    spoilt = checksums(young)
    assert (len(first.trained), len(second.trained)) == (3, 3)
    assert spoilt[:2] == clean[:2]
    assert spoilt[2] != clean[2]


@on_one_store
def test_what_was_trained_before_is_used_again(young: Engine) -> None:
    first = trains(young)
    once, models = said(young), checksums(young)

    second = trains(young, reprocess="all")

    assert (len(first.trained), second.trained) == (3, ())
    assert second.models == first.models
    assert checksums(young) == models
    assert differences(once, said(young)) == []


@on_one_store
def test_models_that_were_trained_on_the_way_never_serve(young: Engine) -> None:
    trains(young)

    models = tables.models.c
    with reading(young) as conn:
        assert conn.scalars(select(models.promoted_at)).all() == [None] * 3
    statuses = {row["status"] for row in said(young)["forecast_steps"].values()}
    assert statuses == {"ok"}
