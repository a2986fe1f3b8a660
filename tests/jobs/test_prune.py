"""Pruning on both stores: what is old goes, what is still needed stays."""

from dataclasses import replace
from datetime import timedelta

from forecaster.config import RetentionConfig
from jobs.reports import PruneReport, ScoreReport
from tests.jobs.small import DATASET, HORIZON, HOUR, LAST, World, hour, land, query, rows

SETTLED = HORIZON + 2
"""Hours after its cutoff at which a forecast can be scored: its last step, and late data."""


def keeping(world: World, retention: RetentionConfig) -> World:
    return World(engine=world.engine, dataset=world.dataset, retention=retention)


def test_pruning_deletes_what_is_old(trained: World) -> None:
    trained.tick("forecast", hour(LAST))
    later = keeping(
        trained,
        RetentionConfig(forecasts=24 * HOUR, attention=24 * HOUR, observations=100 * HOUR),
    )

    kept = later.tick("prune", hour(LAST + SETTLED + 24)).report
    pruned = later.tick("prune", hour(LAST + SETTLED + 25)).report

    assert isinstance(kept, PruneReport)
    assert isinstance(pruned, PruneReport)
    assert kept.deleted["forecasts"] == 0
    assert pruned.deleted["forecasts"] == 2 * HORIZON
    assert pruned.deleted["attention"] > 0
    assert pruned.deleted["observations"] == 2
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


def test_weights_are_dropped_when_nothing_is_left_to_score(trained: World) -> None:
    trained.tick("retrain", hour(LAST + 1))

    keeping(trained, RetentionConfig(models=0)).tick("prune", hour(LAST + 1 + SETTLED + 1))

    assert query(trained.engine, "SELECT count(*) FROM models WHERE weights IS NOT NULL") == [(1,)]


def test_the_newest_runs_stay_on_record_for_as_long_as_none_follows(trained: World) -> None:
    short = replace(DATASET, retrain_every=timedelta(days=168))
    world = World(engine=trained.engine, dataset=short, retention=RetentionConfig(runs=24 * HOUR))

    world.tick("prune", hour(LAST + 24 * 100))

    assert query(trained.engine, "SELECT job FROM runs ORDER BY job") == [("prune",), ("retrain",)]
