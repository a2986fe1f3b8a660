"""Checkpoints: exact round trips, and a clear refusal of anything else."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from forecaster.errors import IncompatibleCheckpoint
from forecaster.inference.checkpoint import (
    TrainedModel,
    dumps,
    loads,
    scoring_scale,
)
from forecaster.network.spec import ModelSpec
from tests.network.networks import contexts, small_model, small_spec
from tests.scripts import output_of

MODEL = small_model({"b": 0.1, "a/ü": 1e300})
DATA = dumps(MODEL)
LENGTH = 8 + int.from_bytes(DATA[:8], "little")


def repacked(**changes: object) -> bytes:
    """The same tensors under a description with `changes`; None takes a key away."""
    about = json.loads(json.loads(DATA[8:LENGTH])["__metadata__"]["forecaster"]) | changes
    known = {key: value for key, value in about.items() if value is not None}
    return save(load(DATA), metadata={"forecaster": json.dumps(known)})


def spec_text(**changes: object) -> str:
    return json.dumps(asdict(small_spec()) | changes)


def test_a_model_comes_back_bit_for_bit() -> None:
    model = loads(DATA, hashlib.sha256(DATA).hexdigest())
    context = contexts(3, 24)
    assert model.spec == MODEL.spec
    assert model.series_scale == MODEL.series_scale
    assert torch.equal(model.network(context).deviations, MODEL.network(context).deviations)
    assert dumps(model) == DATA


def test_a_model_without_series_comes_back() -> None:
    assert loads(dumps(replace(MODEL, series_scale={}))).series_scale == {}


def test_loading_and_forecasting_import_no_compiler(tmp_path: Path) -> None:
    """In a process of its own, as trainings do import it: the start of one takes two seconds."""
    (tmp_path / "checkpoint").write_bytes(DATA)
    script = (
        "import sys, torch; from pathlib import Path\n"
        "from forecaster.inference.checkpoint import loads\n"
        "model = loads(Path('checkpoint').read_bytes())\n"
        "model.network(torch.ones(1, model.spec.context_length))\n"
        "print('torch._dynamo' in sys.modules)"
    )

    assert output_of(script, tmp_path) == "False\n"


def test_loading_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    loads(DATA)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.fault(21)
def test_other_bytes_than_the_recorded_ones_are_refused() -> None:
    with pytest.raises(IncompatibleCheckpoint, match="checksum mismatch"):
        loads(DATA, "0" * 64)


@pytest.mark.fault(21)
@given(size=st.integers(0, len(DATA) - 1))
def test_a_truncated_checkpoint_is_refused(size: int) -> None:
    with pytest.raises(IncompatibleCheckpoint):
        loads(DATA[:size])


@pytest.mark.fault(21)
@given(where=st.integers(0, LENGTH + 200), byte=st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(where: int, byte: int) -> None:
    damaged = DATA[:where] + bytes([byte]) + DATA[where + 1 :]
    with suppress(IncompatibleCheckpoint):
        assert isinstance(loads(damaged), TrainedModel)


@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_checkpoint_are_refused(data: bytes) -> None:
    with pytest.raises(IncompatibleCheckpoint):
        loads(data)


@pytest.mark.fault(21)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_is_refused(value: float) -> None:
    tensors = load(DATA)
    tensors["network.gates.bias"][0] = value
    metadata = json.loads(DATA[8:LENGTH])["__metadata__"]
    with pytest.raises(IncompatibleCheckpoint, match=r"infinite values in 'network.gates.bias'"):
        loads(save(tensors, metadata=metadata))


@pytest.mark.fault(21)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 1}, "format must be 2, found 1"),
        ({"format_version": None}, "not a checkpoint of Forecaster"),
        ({"spec": None}, "not a checkpoint of Forecaster"),
        ({"spec": 3}, "format must be 2"),
        ({"spec": "{"}, "must be JSON"),
        ({"spec": "[]"}, "an object with the keys"),
        ({"spec": '{"step": "1h"}'}, "an object with the keys"),
        ({"spec": spec_text(score="dott")}, "score must be one of .* found 'dott'"),
        ({"spec": spec_text(priors=["os:system"])}, "priors must be a plug-in .* 'os:system'"),
        ({"spec": spec_text(priors="os:system")}, "priors must be of type tuple"),
        ({"spec": spec_text(priors=[1])}, "priors must be of type tuple"),
        ({"spec": spec_text(temperature=0.0)}, "temperature must be a finite number above 0"),
        ({"spec": spec_text(attention_window=0)}, "attention_window must be between 1"),
        ({"spec": spec_text(self_attention=1)}, "self_attention must be of type"),
        ({"spec": spec_text(normaliser="max")}, "normaliser must be one of"),
        ({"spec": spec_text(encoder="gruu")}, "encoder must be one of"),
        ({"spec": spec_text(head="point")}, "head must be one of"),
        ({"spec": spec_text(hidden_size=16)}, "shapes of the spec"),
        ({"spec": spec_text(hidden_size=1_000_000, mlp_size=1_000_000)}, "shapes of the spec"),
        ({"spec": spec_text(hidden_size=True)}, "hidden_size must be of type"),
        ({"spec": spec_text(hidden_size=10**30)}, "hidden_size must be between 1 and"),
        ({"spec": spec_text(layers=10_000)}, "layers must be between 1 and"),
        ({"spec": spec_text(anchor=10**30)}, "anchor must be between"),
        ({"spec": spec_text(dropout=float("nan"))}, r"dropout must be in \[0, 1\)"),
        ({"spec": spec_text(context_length=25)}, "multiple of patch_length"),
        (
            {"spec": spec_text(context_length=16_388)},
            "of patches must be at most 16777216, found '4097 past",
        ),
        ({"spec": spec_text(prediction_length=1_000_000, context_length=800)}, "found '200 past"),
        ({"spec": spec_text(step="now")}, "cannot build a network"),
        ({"series_ids": None}, "not a checkpoint of Forecaster"),
        ({"series_ids": "ab"}, "format must be 2"),
        ({"series_ids": ["a"]}, "one scale per series"),
        ({"series_ids": [1, 2]}, "one scale per series"),
    ],
)
def test_the_description_of_another_model_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(IncompatibleCheckpoint, match=message) as caught:
        loads(repacked(**changes))
    assert caught.value.hint


def test_a_scale_that_is_not_above_zero_is_refused() -> None:
    with pytest.raises(IncompatibleCheckpoint, match="above 0"):
        loads(dumps(replace(MODEL, series_scale={"a": 0.0})))


def test_what_forecasts_are_scored_by_is_read_without_a_network() -> None:
    read = scoring_scale(repacked(spec=spec_text(priors=["os:system"]), members=0))

    assert read.spec == small_spec(priors=("os:system",))
    assert read.series_scale == MODEL.series_scale


def test_scores_are_not_taken_from_other_bytes_than_the_recorded_ones() -> None:
    with pytest.raises(IncompatibleCheckpoint, match="checksum mismatch"):
        scoring_scale(DATA, "0" * 64)


def test_a_spec_comes_back_from_its_json() -> None:
    spec = small_spec(dropout=0.0, timezone="America/New_York")
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.grid().timezone == "America/New_York"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterSpec(ModelSpec):
    """What a later version may make of a spec: a field that earlier ones do not have."""

    since_later: str = "as before"


def test_a_spec_of_an_earlier_version_has_the_defaults_of_later_fields() -> None:
    earlier = json.loads(small_spec().to_json())

    assert LaterSpec.from_json(json.dumps(earlier)).since_later == "as before"
    assert LaterSpec.from_json(json.dumps(earlier | {"since_later": "new"})).since_later == "new"


def test_a_spec_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(IncompatibleCheckpoint, match="an object with the keys"):
        ModelSpec.from_json(spec_text(since_later="new"))
