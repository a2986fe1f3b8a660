"""Checkpoints in the database that are not what was written, each in another way."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from hypothesis import strategies as st
from safetensors.torch import load, save
from sqlalchemy import Engine, update

from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import models
from forecaster.store.state.models import ModelRecord
from forecaster.store.tables import models as table

Damage = Callable[[bytes], bytes | None]


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


def about(data: bytes) -> str:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    told: str = header["__metadata__"]["forecaster"]
    return told


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
