"""Facts of all datasets at once: as the tables tell them, whatever is missing."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from forecaster.store.state import (
    health,
    leases,
    models,
    runs,
)
from forecaster.store.state.health import Facts
from tests.store.samples import HOUR, START, add_model, observed


def facts(engine: Engine, *names: str) -> dict[str, Facts]:
    with reading(engine) as conn:
        return {each.dataset: each for each in health.facts(conn, names)}


def test_of_an_unknown_dataset_nothing_is_known(engine: Engine) -> None:
    found = facts(engine, "bikes")["bikes"]

    assert found == Facts(
        dataset="bikes", series=0, newest_observation=None, serving=None, forecasts=(),
        retrains=(), last_forecast=None, replicas=0, last_replica=None,
    )  # fmt: skip


def test_every_dataset_has_its_own_facts(engine: Engine) -> None:
    with writing(engine) as conn:
        observations.ingest(conn, "bikes", observed({"a": [1.0], "b": [2.0]}), recorded_at=START)
        for name in ("bikes", "power"):
            models.promote(conn, name, add_model(conn, name), now=START, reason="first")
            claim = runs.claim(conn, "retrain", name, START, START)
            runs.note_progress(conn, claim, 0.25)
        runs.fail(conn, claim, now=START, error="no data")

    found = facts(engine, "bikes", "roads")

    assert sorted(found) == ["bikes", "power", "roads"]
    assert (found["bikes"].series, found["bikes"].newest_observation) == (2, START)
    assert [each.serving and each.serving.model_id for each in found.values()] == [1, 2, None]
    assert [run.state for run in found["power"].retrains] == ["failed"]
    assert found["bikes"].retrains[0].progress == 0.25


def test_the_newest_runs_and_the_last_success_are_told(engine: Engine) -> None:
    with writing(engine) as conn:
        first = runs.claim(conn, "forecast", "bikes", START, START)
        runs.finish(conn, first, now=START, report={"model_id": 7})
        for hour in range(1, 9):
            claim = runs.claim(conn, "forecast", "bikes", START + hour * HOUR, START)
            runs.fail(conn, claim, now=START, error="none")

    found = facts(engine, "bikes")["bikes"]

    assert [run.tick for run in found.forecasts] == [
        START + hour * HOUR for hour in (8, 7, 6, 5, 4)
    ]
    assert found.last_forecast is not None
    assert (found.last_forecast.tick, found.last_forecast.report) == (START, {"model_id": 7})


def test_a_champion_stands_in_when_a_later_one_is_damaged(engine: Engine) -> None:
    with writing(engine) as conn:
        first, second = add_model(conn), add_model(conn)
        for model_id in (first, second):
            models.promote(conn, "bikes", model_id, now=START, reason="newer")
    before = facts(engine, "bikes")["bikes"].serving
    with writing(engine) as conn:
        marked = models.mark_damaged(conn, "bikes", [second], successor=first, now=START + HOUR)
        again = models.mark_damaged(conn, "bikes", [second], successor=first, now=START + HOUR)
    after = facts(engine, "bikes")["bikes"].serving

    assert (marked, again) == ([second], [])
    assert before is not None
    assert after is not None
    assert (before.model_id, before.is_fallback) == (second, False)
    assert (after.model_id, after.is_fallback, after.promoted_at) == (first, True, START + HOUR)


def test_replicas_are_there_until_their_lease_expires(engine: Engine) -> None:
    with writing(engine) as conn:
        leases.acquire(conn, leases.of_member("here"), "here", timedelta(minutes=5))
        leases.acquire(conn, leases.of_dataset("bikes"), "here", timedelta(minutes=5))
        leases.acquire(conn, leases.of_member("gone"), "gone", timedelta(minutes=-5))

    found = facts(engine, "bikes")["bikes"]

    assert found.replicas == 1
    assert found.last_replica is not None


@pytest.mark.slow
def test_hundreds_of_datasets_are_no_trouble(engine: Engine) -> None:
    names = [f"dataset {number}" for number in range(300)]
    with writing(engine) as conn:
        for name in names:
            runs.claim(conn, "forecast", name, START, START)

    found = facts(engine, *names)

    assert {len(each.forecasts) for each in found.values()} == {1}
