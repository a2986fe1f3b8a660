"""Checkpoints: safetensors bytes with everything needed to serve, and nothing executable."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from forecaster.errors import IncompatibleCheckpoint
from forecaster.model.network import AttentionLSTM
from forecaster.model.spec import ModelSpec

FORMAT_VERSION = 1
RETRAIN = "run `forecaster retrain`, or put another model in service with `forecaster models`"

_SCALES = "series_scale"
_NETWORK = "network."


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A network with the scale of every series it was trained on."""

    spec: ModelSpec
    network: AttentionLSTM
    series_scale: Mapping[str, float]


def dumps(model: TrainedModel) -> bytes:
    """Return `model` as safetensors bytes; loads(dumps(model)) forecasts the same bits."""
    weights = model.network.state_dict()
    tensors = {_NETWORK + name: weight.cpu().contiguous() for name, weight in weights.items()}
    tensors[_SCALES] = torch.tensor(list(model.series_scale.values()), dtype=torch.float64)
    return save(
        tensors,
        metadata={
            "format_version": str(FORMAT_VERSION),
            "spec": model.spec.to_json(),
            "series_ids": json.dumps(list(model.series_scale)),
        },
    )


def loads(data: bytes, sha256: str | None = None) -> TrainedModel:
    """Rebuild a model on the CPU, ready to forecast.

    Raises IncompatibleCheckpoint if `data` does not hash to `sha256`, is damaged, or was written
    by another version; nothing in `data` is ever executed.
    """
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise _incompatible("the checkpoint must hash to the recorded sha256")
    tensors, metadata = _read(data)
    if metadata.get("format_version") != str(FORMAT_VERSION):
        found = metadata.get("format_version")
        raise _incompatible(f"the checkpoint must have format {FORMAT_VERSION}, found {found!r}")
    spec = ModelSpec.from_json(metadata.get("spec", ""))
    series_scale = _series_scale(metadata.get("series_ids", ""), tensors.pop(_SCALES, None))
    return TrainedModel(spec=spec, network=_network(spec, tensors), series_scale=series_scale)


def _incompatible(message: str) -> IncompatibleCheckpoint:
    return IncompatibleCheckpoint(message, hint=RETRAIN)


def _read(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, all finite, and the metadata of safetensors bytes."""
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, RuntimeError, KeyError, OverflowError) as error:
        raise _incompatible(f"the checkpoint must be readable, found {error}") from error
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and bool(tensor.isfinite().all())):
            raise _incompatible(f"every weight must be a finite number, found others in {name!r}")
    length = int.from_bytes(data[:8], "little")
    return tensors, json.loads(data[8 : 8 + length]).get("__metadata__") or {}


def _series_scale(series_ids: str, scales: Tensor | None) -> dict[str, float]:
    try:
        names = json.loads(series_ids)
    except ValueError as error:
        raise _incompatible(f"the series must be a JSON list, found {error}") from error
    expected = scales is not None and isinstance(names, list) and scales.shape == (len(names),)
    if scales is None or not expected or not all(isinstance(name, str) for name in names):
        raise _incompatible("the checkpoint must have one scale per series")
    if not bool((scales > 0).all()):
        raise _incompatible("the scale of every series must be above 0")
    return dict(zip(names, scales.double().tolist(), strict=True))


def _network(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> AttentionLSTM:
    """Build the network; shapes are compared before memory is asked for."""
    found = {name.removeprefix(_NETWORK): tensor for name, tensor in tensors.items()}
    with _building(spec), torch.device("meta"):
        expected = AttentionLSTM(spec).state_dict()
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()}
    if shapes != {name: (tensor.dtype, tensor.shape) for name, tensor in expected.items()}:
        raise _incompatible("the weights must have the shapes of the spec, found others")
    with torch.random.fork_rng(devices=[]):
        network = AttentionLSTM(spec)
    network.load_state_dict(found)
    return network.eval()


@contextmanager
def _building(spec: ModelSpec) -> Iterator[None]:
    try:
        spec.grid()
        yield
    except (ValueError, RuntimeError, TypeError, ArithmeticError, LookupError, OSError) as error:
        raise _incompatible(f"the spec must describe a network, found {error}") from error
