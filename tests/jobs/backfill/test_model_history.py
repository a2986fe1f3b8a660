"""Which model a backfill asks, what it leaves to the service, and which leads it can judge."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import CalendarConfig, DatasetConfig, RetentionConfig
from forecaster.errors import ConfigError
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import leases, models
from forecaster.times.durations import Step
from jobs.backfill.plan import BackfillRequest
from jobs.backfill.report import BackfillReport
from jobs.backfill.run import Work, run
from tests.jobs.fitting import fit_once
from tests.jobs.small import DATASET, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.quick_on("postgres")

SECOND = timedelta(seconds=1)
TICKS = 6


@pytest.fixture
def served(engine: Engine) -> World:
    """A service that ran a few ticks; another champion came after half of them."""
    world = World(engine=engine)
    land(engine, rows("north", 0, LAST))
    world.tick("retrain", hour(LAST))
    for number in range(LAST + 1, LAST + TICKS + 1):
        land(engine, rows("north", number, number))
        world.tick("forecast", hour(number))
        if number == LAST + TICKS // 2:
            world.tick("retrain", hour(number))
    return world


def backfill(engine: Engine, first: int, last: int, **asked: Any) -> BackfillReport:
    dataset: DatasetConfig = asked.pop("dataset", DATASET)
    now = hour(last) + 2 * SECOND
    return run(
        Work(
            engine=engine,
            dataset=dataset,
            retention=RetentionConfig(),
            fit=fit_once,
            clock=lambda: now,
        ),
        BackfillRequest(since=hour(first), until=hour(last), **asked),
    )


def origins(engine: Engine) -> list[tuple[object, ...]]:
    return query(
        engine, "SELECT origin, model_id, count(*) FROM forecast_steps GROUP BY 1, 2 ORDER BY 2"
    )


def test_live_forecasts_stay_the_only_ones_when_the_weights_behind_them_are_gone(
    served: World,
) -> None:
    before = origins(served.engine)
    with writing(served.engine) as conn:
        models.prune(conn, "bikes", keep=0, retired_before=hour(LAST + 99))

    report = backfill(served.engine, LAST + 1, LAST + TICKS, retrain_every=Step.parse("1d"))

    assert (report.ticks, report.in_service, report.trained) == (0, TICKS, ())
    assert origins(served.engine) == before


@pytest.mark.parametrize("horizon", [4, 24])
def test_a_model_of_another_horizon_is_asked_as_the_service_asks_it(
    engine: Engine, horizon: int
) -> None:
    world = World(engine=engine)
    land(engine, rows("north", 0, LAST))
    world.tick("retrain", hour(LAST - 60))
    with writing(engine) as conn:
        [model] = models.list_models(conn, "bikes")
        models.promote(conn, "bikes", model.model_id, now=hour(LAST - 59), reason="in time")

    report = backfill(engine, LAST - 50, LAST, dataset=replace(DATASET, prediction_length=horizon))

    assert (report.ticks, report.failures) == (51, ())
    ours = {str(lead) for (lead,) in query(engine, "SELECT DISTINCT lead FROM accuracy")}
    assert ours == ({"1", "2", "3-4"} if horizon == 4 else {"1", "2", "3-5", "6-11"})


def test_what_was_asked_of_a_model_on_the_way_is_no_hindsight(engine: Engine) -> None:
    land(engine, rows("north", 0, LAST))
    filled = backfill(engine, LAST - 9, LAST, retrain_every=Step.parse("9d"))
    before = query(engine, "SELECT status, origin, count(*) FROM forecast_steps GROUP BY 1, 2")

    named = backfill(engine, LAST - 9, LAST, model=str(filled.trained[0]), reprocess="all")

    assert (named.ticks, named.done_before) == (0, 10)
    assert (
        query(engine, "SELECT status, origin, count(*) FROM forecast_steps GROUP BY 1, 2") == before
    )


def test_a_model_on_the_way_is_used_again_where_it_would_be_trained_alike(engine: Engine) -> None:
    land(engine, rows("north", 0, LAST))
    ask = {"retrain_every": Step.parse("9d"), "reprocess": "all"}
    first = backfill(engine, LAST - 9, LAST, **ask)

    same = backfill(engine, LAST - 9, LAST, **ask)
    other = backfill(engine, LAST - 9, LAST, known_after=timedelta(days=3), **ask)

    assert same.trained == ()
    assert list(same.models) == list(first.trained)
    assert len(other.trained) == 1
    assert list(other.models) == list(other.trained)


@pytest.mark.parametrize(
    "settings",
    [
        {"calendar": CalendarConfig(open="mon-fri 08:00-20:00")},
        {"query": "SELECT series_id, timestamp, count(*) AS value FROM t GROUP BY 1, 2"},
    ],
    ids=["calendar", "groups"],
)
def test_a_model_is_trained_again_where_other_settings_would_teach_it_otherwise(
    engine: Engine, settings: dict[str, Any]
) -> None:
    land(engine, rows("north", 0, LAST))
    ask = {"retrain_every": Step.parse("9d"), "reprocess": "all"}
    first = backfill(engine, LAST - 1, LAST, **ask)

    other = backfill(engine, LAST - 1, LAST, dataset=replace(DATASET, **settings), **ask)

    assert len(other.trained) == 1
    assert first.trained != other.trained


def test_ticks_that_a_living_service_is_about_to_run_are_left_to_it(served: World) -> None:
    with writing(served.engine) as conn:
        leases.acquire(conn, leases.of_dataset("bikes"), "somebody", timedelta(hours=1))

    report = backfill(served.engine, LAST + 1, LAST + TICKS + 2)

    assert (report.ticks, report.in_service) == (0, TICKS + 2)


def test_ticks_that_a_service_has_left_are_done(served: World) -> None:
    land(served.engine, rows("north", LAST + TICKS + 1, LAST + TICKS + 2))

    report = backfill(served.engine, LAST + 1, LAST + TICKS + 2)

    assert (report.ticks, report.in_service) == (2, TICKS)


def test_a_service_that_has_no_forecasts_yet_does_not_keep_the_past_from_being_filled(
    engine: Engine,
) -> None:
    land(engine, rows("north", 0, LAST))
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_dataset("bikes"), "somebody", timedelta(hours=1))

    report = backfill(engine, LAST - 9, LAST, retrain_every=Step.parse("9d"))

    assert (report.ticks, report.in_service) == (9, 1)


def test_a_model_that_was_put_back_in_service_is_known_by_the_ticks_that_asked_it(
    served: World,
) -> None:
    first, second = 1, 2
    with writing(served.engine) as conn:
        models.rollback(conn, "bikes", now=hour(LAST + TICKS) + SECOND, reason="worse")
    with reading(served.engine) as conn:
        assert models.champion(conn, "bikes").model_id == first

    report = backfill(
        served.engine, LAST + 1, LAST + TICKS, every=Step.parse("90m"), reprocess="all"
    )

    assert report.failures == ()
    assert set(report.models) <= {first, second}


def test_a_number_that_no_model_can_have_is_refused(served: World) -> None:
    with pytest.raises(ConfigError, match="--model must be as-of, champion or a number"):
        backfill(served.engine, LAST + 1, LAST + TICKS, model="9" * 20)
