"""Damaged checkpoints: never served, marked once, and the last good model stands in."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine, update

from forecaster.errors import IncompatibleCheckpoint, ModelError, NoChampion
from forecaster.store.connection.engine import writing
from forecaster.store.state import models
from forecaster.store.state.models import NewModel
from forecaster.store.tables import models as table
from jobs.execution.reports import ForecastReport
from jobs.stages.champions import Champion, Champions
from tests.jobs.damages import (
    DAMAGES,
    SIGNED,
    about,
    harm,
    keep,
    mutations,
    records,
    repacked,
    weights_of,
)
from tests.jobs.small import DATASET, HOUR, LAST, World, hour, land, query, rows

pytestmark = pytest.mark.quick_on("sqlite")

ROOT = Path(__file__).resolve().parents[3]
NOW = hour(LAST + 3)


@pytest.fixture
def served(trained: World) -> World:
    """Three models that served one after the other, with weights of their own."""
    with writing(trained.engine) as conn:
        first = models.champion(conn, "bikes")
        for number, others in ((1, ["b/c", "a"]), (2, ["a", "z"])):
            data = repacked(first.weights, series_ids=others)
            model = NewModel(
                config=first.config,
                weights=data,
                sha256=hashlib.sha256(data).hexdigest(),
                scores={},
                trained_from=first.trained_from,
                trained_to=first.trained_to,
                parent_id=first.model_id,
                created_at=hour(LAST + number),
            )
            model_id = models.add(conn, "bikes", model)
            models.promote(conn, "bikes", model_id, now=hour(LAST + number), reason="newer")
    return trained


def serving(engine: Engine) -> Champion:
    return Champions().serving(engine, DATASET, now=NOW)


@pytest.mark.fault(21)
def test_a_damaged_champion_is_marked_and_the_last_one_before_it_serves(served: World) -> None:
    harm(served.engine, 3, DAMAGES["truncated"])

    outcome = served.tick("forecast", hour(LAST + 3))

    found = records(served.engine)
    assert outcome.result == "succeeded"
    assert query(served.engine, "SELECT DISTINCT model_id, status FROM forecasts") == [
        (2, "fallback_champion")
    ]
    assert found[3].damaged_at is not None
    assert found[3].damaged_at == found[3].retired_at == found[2].promoted_at
    assert (found[2].is_champion, found[2].reason) == (True, "model 3 is damaged")


@pytest.mark.fault(21)
def test_what_cannot_serve_is_damaged_whatever_its_hash(served: World, folder: Path) -> None:
    engine, good = served.engine, weights_of(served.engine, 3)
    trials = [(name, damage, name in SIGNED) for name, damage in (DAMAGES | SIGNED).items()]
    found = {}

    for name, damage, signed in trials:
        restore(engine, good)
        harm(engine, 3, damage, signed=signed)
        found[name] = serving(engine).model_id, records(engine)[3].damaged_at

    assert found == dict.fromkeys(DAMAGES | SIGNED, (2, NOW))
    assert not (folder / "exploded").exists()


@pytest.mark.fault(21)
def test_the_weights_of_another_model_do_not_serve(served: World) -> None:
    keep(served.engine, 3, weights_of(served.engine, 2))

    assert serving(served.engine).model_id == 2
    assert records(served.engine)[3].damaged_at is not None


@pytest.mark.fault(21)
def test_damaged_models_are_passed_over_until_one_is_good(served: World) -> None:
    for model_id in (2, 3):
        harm(served.engine, model_id, DAMAGES["truncated"])
    seen: list[str] = []

    champions = Champions(seen.append)
    first = champions.serving(served.engine, DATASET, now=NOW)
    again = champions.serving(served.engine, DATASET, now=NOW + HOUR)

    found = records(served.engine)
    assert (first.model_id, first.is_fallback) == (1, True)
    assert again is first
    assert seen == ["bikes", "bikes"]
    assert [found[number].damaged_at for number in (1, 2, 3)] == [None, NOW, NOW]


@pytest.mark.fault(21)
def test_a_model_stands_in_until_the_next_training(served: World) -> None:
    harm(served.engine, 3, DAMAGES["deleted"])
    served.tick("forecast", hour(LAST + 3))

    elsewhere = serving(served.engine)
    served.tick("retrain", hour(LAST + 4))
    served.tick("forecast", hour(LAST + 4))

    assert (elsewhere.model_id, elsewhere.is_fallback) == (2, True)
    newest = "SELECT model_id, status FROM forecasts ORDER BY cutoff DESC, model_id LIMIT 1"
    assert query(served.engine, newest) == [(4, "ok")]


@pytest.mark.fault(21)
def test_without_a_good_model_a_training_is_asked_for(trained: World) -> None:
    harm(trained.engine, 1, DAMAGES["a flipped bit"])

    first = trained.tick("forecast", hour(LAST))
    second = trained.tick("forecast", hour(LAST + 1))
    trained.tick("retrain", hour(LAST + 1))
    third = trained.tick("forecast", hour(LAST + 1))

    assert isinstance(first.error, NoChampion)
    assert first.error.message.endswith("has no champion: model 1 is damaged")
    assert first.error.hint == "run `forecaster retrain`"
    assert isinstance(second.error, NoChampion)
    assert third.result == "succeeded"


def test_a_checkpoint_of_another_format_is_refused_and_not_marked(served: World) -> None:
    harm(served.engine, 3, lambda data: repacked(data, format_version=99), signed=True)

    outcome = served.tick("forecast", hour(LAST + 3))

    found = records(served.engine)
    assert outcome.result == "succeeded"
    assert (found[3].is_champion, found[3].damaged_at) == (True, None)
    assert query(served.engine, "SELECT DISTINCT model_id, status FROM forecasts") == [
        (2, "fallback_champion")
    ]


def test_the_only_model_is_refused_with_a_hint_when_its_format_is_another(trained: World) -> None:
    harm(trained.engine, 1, lambda data: repacked(data, format_version=99), signed=True)

    outcome = trained.tick("forecast", hour(LAST))

    assert isinstance(outcome.error, IncompatibleCheckpoint)
    assert outcome.error.hint
    assert records(trained.engine)[1].is_champion


def test_a_model_in_need_of_a_plug_in_waits_until_it_is_configured(
    served: World, own_attention: str
) -> None:
    name = f"{own_attention}.priors:whole_weeks"
    spec = json.loads(json.loads(about(weights_of(served.engine, 3)))["spec"])
    told = json.dumps({**spec, "priors": [name]}, sort_keys=True)
    harm(served.engine, 3, lambda data: repacked(data, spec=told), signed=True)
    trusting = replace(DATASET, model=replace(DATASET.model, priors=(name,)))
    champions = Champions()

    without = champions.serving(served.engine, DATASET, now=NOW)
    enabled = champions.serving(served.engine, trusting, now=NOW)

    assert [champion.model_id for champion in (without, enabled)] == [2, 3]
    assert records(served.engine)[3].damaged_at is None


def test_a_damaged_model_is_neither_promoted_nor_rolled_back_to(served: World) -> None:
    harm(served.engine, 2, DAMAGES["truncated"])
    harm(served.engine, 3, DAMAGES["truncated"])
    serving(served.engine)
    served.tick("retrain", hour(LAST + 4))

    with writing(served.engine) as conn:
        back = models.rollback(conn, "bikes", now=NOW, reason="by hand")
    with (
        pytest.raises(ModelError, match="is damaged"),
        writing(served.engine) as conn,
    ):
        models.promote(conn, "bikes", 3, now=NOW, reason="by hand")

    assert back == 1


@pytest.mark.fault(21)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_mutation_of_a_checkpoint_is_ever_served(served: World) -> None:
    data = weights_of(served.engine, 3)

    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(mutated=mutations(data))
    def law(mutated: bytes) -> None:
        restore(served.engine, mutated)
        assert serving(served.engine).model_id == 2

    law()


def restore(engine: Engine, weights: bytes) -> None:
    """Put model 3 back in service, with other weights."""
    with writing(engine) as conn:
        conn.execute(update(table).where(table.c.id == 3).values(weights=weights, damaged_at=None))
        models.promote(conn, "bikes", 3, now=NOW, reason="again")


@pytest.mark.fault(21)
def test_nothing_in_the_program_or_the_library_unpickles() -> None:
    found = [
        f"{path}: {word}"
        for room in ("forecaster", "jobs")
        for path in sorted((ROOT / room).rglob("*.py"))
        for word in ("pickle", "torch.load", "shelve", "joblib", "marshal")
        if word in path.read_text()
    ]

    assert found == []


def test_an_earlier_model_that_stands_in_hides_not_what_made_the_numbers(served: World) -> None:
    harm(served.engine, 3, DAMAGES["truncated"])
    land(served.engine, rows("new", LAST - 60, LAST + 3))

    report = served.tick("forecast", hour(LAST + 3)).report

    assert isinstance(report, ForecastReport)
    assert report.is_fallback
    assert report.statuses["cold_start"] == 1
    assert report.statuses["fallback_champion"] == report.series - 1
