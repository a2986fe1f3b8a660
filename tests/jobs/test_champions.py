"""Damaged checkpoints: never served, marked once, and the last good model stands in."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from sqlalchemy import Engine, update

from forecaster.errors import IncompatibleCheckpoint, ModelError, NoChampion
from forecaster.model.spec import RETRAIN
from forecaster.store import models
from forecaster.store.engine import reading, writing
from forecaster.store.models import ModelRecord, NewModel
from forecaster.store.tables import models as table
from jobs.champions import Champion, Champions
from tests.jobs.small import DATASET, HOUR, LAST, World, hour, query

ROOT = Path(__file__).resolve().parents[2]
NOW = hour(LAST + 3)
Damage = Callable[[bytes], bytes | None]


@pytest.fixture
def served(trained: World) -> World:
    """Three models that served one after the other, with weights of their own."""
    with writing(trained.engine) as conn:
        first = models.champion(conn, "bikes")
        for number in (1, 2):
            data = repacked(first.weights, series_ids=[f"a{number}", f"b{number}"])
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


def keep(engine: Engine, model_id: int, weights: bytes | None, *, sha256: str = "") -> None:
    """Put `weights` in place of those of a model, and say they were always like this."""
    values = {"weights": weights} | ({"sha256": sha256} if sha256 else {})
    with writing(engine) as conn:
        conn.execute(update(table).where(table.c.id == model_id).values(values))


def weights_of(engine: Engine, model_id: int) -> bytes:
    with reading(engine) as conn:
        found = models.weights(conn, model_id)
    assert found is not None
    return found


def harm(engine: Engine, model_id: int, damage: Damage, *, signed: bool = False) -> None:
    """Damage the weights of a model; `signed`, so that their sha256 is right all the same."""
    harmed = damage(weights_of(engine, model_id))
    signature = hashlib.sha256(harmed).hexdigest() if signed and harmed is not None else ""
    keep(engine, model_id, harmed, sha256=signature)


def records(engine: Engine) -> dict[int, ModelRecord]:
    with reading(engine) as conn:
        return {record.model_id: record for record in models.list_models(conn, "bikes")}


def serving(engine: Engine) -> Champion:
    return Champions().serving(engine, DATASET, now=NOW)


def repacked(data: bytes, **about: object) -> bytes:
    """The same weights, described in another way."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    told = json.loads(header["__metadata__"]["forecaster"]) | about
    return save(load(data), metadata={"forecaster": json.dumps(told)})


def with_nan(data: bytes) -> bytes:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    tensors = load(data)
    tensors["network.gates.bias"][0] = torch.nan
    return save(tensors, metadata=header["__metadata__"])


class Bomb:
    """What unpickling runs."""

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (Path("exploded"),)


def huge_header(data: bytes) -> bytes:
    """A header of 4 megabytes of nothing."""
    return (4 << 20).to_bytes(8, "little") + b" " * (4 << 20) + data


def deep_header(data: bytes) -> bytes:
    header = json.dumps({"__metadata__": {"forecaster": "[" * 100_000}}).encode()
    return len(header).to_bytes(8, "little") + header


DAMAGES: dict[str, Damage] = {
    "truncated": lambda data: data[:-1],
    "empty": lambda _: b"",
    "deleted": lambda _: None,
    "a flipped bit": lambda data: data[:-9] + bytes([data[-9] ^ 4]) + data[-8:],
    "garbage": lambda data: bytes(len(data)),
    "a bomb": lambda _: pickle.dumps(Bomb()),
    "a length beyond the end": lambda data: b"\xff" * 8 + data[8:],
}
SIGNED: dict[str, Damage] = {
    "a weight that is not finite": with_nan,
    "a signed bomb": lambda _: pickle.dumps(Bomb()),
    "signed garbage": lambda data: bytes(len(data)),
    "a huge header": huge_header,
    "a deep header": deep_header,
}


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
    assert (first.model_id, first.stands_in) == (1, True)
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

    assert (elsewhere.model_id, elsewhere.stands_in) == (2, True)
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
    assert first.error.message.endswith("must have a model in service, found model 1 damaged")
    assert first.error.hint == RETRAIN
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
    spec = json.loads(json.loads(_header(weights_of(served.engine, 3)))["spec"])
    told = json.dumps({**spec, "priors": [name]}, sort_keys=True)
    harm(served.engine, 3, lambda data: repacked(data, spec=told), signed=True)
    trusting = replace(DATASET, model=replace(DATASET.model, priors=(name,)))
    champions = Champions()

    without = champions.serving(served.engine, DATASET, now=NOW)
    enabled = champions.serving(served.engine, trusting, now=NOW)

    assert [champion.model_id for champion in (without, enabled)] == [2, 3]
    assert records(served.engine)[3].damaged_at is None


def _header(data: bytes) -> str:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    told: str = header["__metadata__"]["forecaster"]
    return told


def test_a_damaged_model_is_neither_promoted_nor_rolled_back_to(served: World) -> None:
    harm(served.engine, 2, DAMAGES["truncated"])
    harm(served.engine, 3, DAMAGES["truncated"])
    serving(served.engine)
    served.tick("retrain", hour(LAST + 4))

    with writing(served.engine) as conn:
        back = models.rollback(conn, "bikes", now=NOW, reason="by hand")
    with (
        pytest.raises(ModelError, match="must be undamaged"),
        writing(served.engine) as conn,
    ):
        models.promote(conn, "bikes", 3, now=NOW, reason="by hand")

    assert back == 1


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """Other bytes than `data`, by a cut, a splice or a flipped bit."""
    where = draw(st.integers(0, len(data) - 1))
    splice = draw(st.binary(max_size=20))
    kind = draw(st.sampled_from(["cut", "splice", "flip"]))
    if kind == "cut":
        return data[:where]
    if kind == "flip":
        return (
            data[:where] + bytes([data[where] ^ 1 << draw(st.integers(0, 7))]) + data[where + 1 :]
        )
    mutated = data[:where] + splice + data[where + draw(st.integers(0, 20)) :]
    return mutated if mutated != data else data[:-1]


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
