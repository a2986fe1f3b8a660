"""Pruning on both stores: what is old goes, what is still needed stays."""

from dataclasses import replace
from datetime import timedelta

import pytest

from forecaster.config.settings import RetentionConfig
from forecaster.times.schedules import Every
from jobs.execution.reports import PruneReport, ScoreReport
from tests.jobs.small import DATASET, HORIZON, HOUR, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.quick_on("postgres")

SETTLED = HORIZON + 2
"""Hours after its cutoff at which a forecast can be scored: its last step, and late data."""
NEXT_DAY = 17 * 24
"""The first midnight after LAST: what was forecast before it may lie in one partition."""


def keeping(world: World, retention: RetentionConfig) -> World:
    return World(engine=world.engine, dataset=world.dataset, retention=retention)


def judge(world: World) -> None:
    """Let all of what was forecast at LAST happen, and score it."""
    land(world.engine, rows("a", LAST + 1, LAST + 20), rows("b/c", LAST + 1, LAST + 20))
    world.tick("score", hour(LAST + SETTLED))


def test_pruning_deletes_what_is_old(trained: World) -> None:
    later = keeping(
        trained,
        RetentionConfig(forecasts=24 * HOUR, attention=24 * HOUR, observations=100 * HOUR),
    )
    later.tick("forecast", hour(LAST))
    judge(later)

    kept = later.tick("prune", hour(LAST + SETTLED + 24)).report
    pruned = later.tick("prune", hour(NEXT_DAY + SETTLED + 24)).report

    assert isinstance(kept, PruneReport)
    assert isinstance(pruned, PruneReport)
    assert kept.deleted["forecasts"] == 0
    assert pruned.deleted["forecasts"] == 2
    assert pruned.deleted["attention"] > 0
    assert pruned.deleted["observations"] == 2 * (NEXT_DAY - LAST)
    assert query(trained.engine, "SELECT count(*) FROM forecasts") == [(0,)]
    assert query(trained.engine, "SELECT min(timestamp) FROM observations") != []


def test_nothing_is_deleted_before_it_can_be_scored(trained: World) -> None:
    hasty = RetentionConfig(forecasts=HOUR, accuracy=HOUR, models=0)
    trained.tick("forecast", hour(LAST))
    land(trained.engine, rows("a", LAST + 1, LAST + 20), rows("b/c", LAST + 1, LAST + 20))
    trained.tick("retrain", hour(LAST + 1))

    keeping(trained, hasty).tick("prune", hour(LAST + SETTLED))
    report = trained.tick("score", hour(LAST + SETTLED)).report
    keeping(trained, hasty).tick("prune", hour(LAST + SETTLED + 1))

    assert isinstance(report, ScoreReport)
    assert report.points == 2 * HORIZON
    assert query(trained.engine, "SELECT sum(points) FROM accuracy") == [(2 * HORIZON,)]
    assert query(trained.engine, "SELECT count(*) FROM models WHERE weights IS NOT NULL") == [(2,)]


@pytest.mark.parametrize("was_scored_before", [False, True])
def test_what_was_not_judged_outlives_a_source_that_is_down(
    trained: World, was_scored_before: bool
) -> None:
    hasty = keeping(trained, RetentionConfig(forecasts=HOUR, attention=HOUR, models=0))
    if was_scored_before:
        trained.tick("score", hour(LAST))
    trained.tick("forecast", hour(LAST))
    trained.tick("retrain", hour(LAST + 1))

    waiting = hasty.tick("prune", hour(LAST + 1000)).report
    judge(trained)
    judged = hasty.tick("prune", hour(LAST + 1001)).report

    assert isinstance(waiting, PruneReport)
    assert isinstance(judged, PruneReport)
    assert {table: count for table, count in waiting.deleted.items() if count} == {}
    assert query(trained.engine, "SELECT sum(points) FROM accuracy") == [(2 * HORIZON,)]
    assert judged.deleted["forecasts"] == 2
    assert judged.deleted["models"] == 1


def test_a_dataset_without_forecasts_holds_up_no_partitions(trained: World) -> None:
    trained.tick("forecast", hour(LAST))
    judge(trained)
    beside = replace(
        keeping(trained, RetentionConfig(forecasts=HOUR)), others=(replace(DATASET, name="new"),)
    )

    pruned = beside.tick("prune", hour(NEXT_DAY + SETTLED + 24)).report

    assert isinstance(pruned, PruneReport)
    assert pruned.deleted["forecasts"] == 2


def test_weights_are_dropped_when_nothing_is_left_to_score(trained: World) -> None:
    trained.tick("retrain", hour(LAST + 1))

    keeping(trained, RetentionConfig(models=0)).tick("prune", hour(LAST + 1 + SETTLED + 1))

    assert query(trained.engine, "SELECT count(*) FROM models WHERE weights IS NOT NULL") == [(1,)]


def test_the_newest_runs_stay_on_record_for_as_long_as_none_follows(trained: World) -> None:
    short = replace(DATASET, retrain_schedule=Every(timedelta(days=168)))
    world = World(engine=trained.engine, dataset=short, retention=RetentionConfig(runs=24 * HOUR))

    world.tick("prune", hour(LAST + 24 * 100))

    assert query(trained.engine, "SELECT job FROM runs ORDER BY job") == [("prune",), ("retrain",)]


def test_a_partition_stays_while_another_dataset_needs_its_rows(trained: World) -> None:
    slow = replace(DATASET, name="slow", prediction_length=HORIZON + 48)
    alone = keeping(trained, RetentionConfig(forecasts=24 * HOUR))
    alone.tick("forecast", hour(LAST))
    judge(alone)
    beside = replace(alone, others=(slow,))
    at = hour(NEXT_DAY + SETTLED + 24)

    kept = beside.tick("prune", at).report
    pruned = alone.tick("prune", at + HOUR).report

    assert isinstance(kept, PruneReport)
    assert isinstance(pruned, PruneReport)
    assert kept.deleted["forecasts"] + pruned.deleted["forecasts"] == 2
    if trained.engine.dialect.name == "postgresql":
        assert (kept.partitions["dropped"], pruned.partitions["dropped"]) == (0, 1)


def test_room_is_made_ahead(trained: World) -> None:
    first, second = (trained.tick("prune", hour(LAST + later)).report for later in (0, 1))

    assert isinstance(first, PruneReport)
    assert isinstance(second, PruneReport)
    assert (first.partitions["made"] > 0) == (trained.engine.dialect.name == "postgresql")
    assert second.partitions["made"] == 0
