"""Checkpoints: safetensors bytes with everything needed to serve, and nothing executable."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from forecaster.errors import DamagedCheckpoint, IncompatibleCheckpoint
from forecaster.inference.naive_fallback import FALLBACKS
from forecaster.network import plugins
from forecaster.network.ensemble import Network, assemble, disassemble
from forecaster.network.network import AttentionLSTM
from forecaster.network.score_functions import SCORES
from forecaster.network.spec import RETRAIN, ModelSpec

FORMAT_VERSION = 2
MOST_MEMBERS = 100
_METADATA = "forecaster"
_SCALES = "series_scale"
_NETWORK = "network."
_UNFIT = (
    ValueError,
    RuntimeError,
    TypeError,
    ArithmeticError,
    LookupError,
    OSError,
    AssertionError,
)
"""Errors of building a grid or a network, plug-ins included, from an invalid spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A network with the scale of every series it was trained on."""

    spec: ModelSpec
    network: Network
    series_scale: Mapping[str, float]
    fallback: str | None = None
    """The naive forecast that serves in place of the network, since it was clearly better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringScale:
    """What is needed to score the forecasts of a model."""

    spec: ModelSpec
    series_scale: Mapping[str, float]


def dumps(model: TrainedModel) -> bytes:
    """Return `model` as safetensors bytes; loads(dumps(model)) forecasts the same bits."""
    weights = model.network.state_dict()
    tensors = {_NETWORK + name: weight.cpu().contiguous() for name, weight in weights.items()}
    metadata = {
        "format_version": FORMAT_VERSION,
        "spec": model.spec.to_json(),
        "series_ids": [],
        "members": len(disassemble(model.network)),
        "fallback": model.fallback,
    }
    return _dumps(tensors, metadata, model.series_scale)


def _dumps(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], series_scale: Mapping[str, float]
) -> bytes:
    scales = torch.tensor(list(series_scale.values()), dtype=torch.float64)
    text = json.dumps({**metadata, "series_ids": list(series_scale)})
    # one key, because safetensors writes several in any order: equal models have equal bytes
    return save({**tensors, _SCALES: scales}, metadata={_METADATA: text})


def loads(data: bytes, sha256: str | None = None, enabled: Collection[str] = ()) -> TrainedModel:
    """Rebuild a model on the CPU, ready to forecast.

    Raises DamagedCheckpoint if `data` does not hash to `sha256` or cannot be read, and another
    IncompatibleCheckpoint if it was written by another version, or names a plug-in that is not
    `enabled`, the plug-ins of local config. Those are imported, nothing else is, and nothing in
    `data` is ever executed.
    """
    tensors, metadata = _contents(data, sha256)
    scale = _scoring_scale(tensors, metadata)
    _require_enabled(scale.spec, enabled)
    return TrainedModel(
        spec=scale.spec,
        network=_network(scale.spec, _members(metadata), tensors),
        series_scale=scale.series_scale,
        fallback=_fallback(metadata),
    )


def scoring_scale(data: bytes, sha256: str | None = None) -> ScoringScale:
    """Read what forecasts are scored by. No network is built, so that no plug-in is needed.

    Raises IncompatibleCheckpoint as `loads` does.
    """
    return _scoring_scale(*_contents(data, sha256))


def with_scales(data: bytes, scales: Mapping[str, float]) -> bytes:
    """Return the checkpoint with the scales of further series.

    Raises IncompatibleCheckpoint as `loads` does.
    """
    tensors, metadata = _contents(data, None)
    series_scale = {**_scoring_scale(tensors, metadata).series_scale, **scales}
    return _dumps(tensors, metadata, series_scale)


def _contents(data: bytes, sha256: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise _damaged("checkpoint checksum mismatch: its sha256 is not the recorded one")
    metadata = _metadata(data)
    return _tensors(data), metadata


def _scoring_scale(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> ScoringScale:
    return ScoringScale(
        spec=ModelSpec.from_json(metadata["spec"]),
        series_scale=_series_scale(metadata["series_ids"], tensors.get(_SCALES)),
    )


def _incompatible(message: str) -> IncompatibleCheckpoint:
    return IncompatibleCheckpoint(message, hint=RETRAIN)


def _damaged(message: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(message, hint=RETRAIN)


def _require_enabled(spec: ModelSpec, enabled: Collection[str]) -> None:
    """Refuse parts that are neither built in nor enabled, before anything could import them."""
    for name in sorted(spec.plugins - set(enabled)):
        kind = "score" if name == spec.score else "priors"
        builtin = f"one of {sorted(SCORES)} or " if kind == "score" else ""
        raise IncompatibleCheckpoint(
            f"{kind} must be {builtin}a plug-in listed in the configuration, found {name!r}",
            hint=f"if you trust it, set {kind} to it under [datasets.NAME.model]; "
            "else run `forecaster retrain`",
        )


def _tensors(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of safetensors bytes, all of them finite numbers."""
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, RuntimeError, LookupError, OverflowError) as error:
        raise _damaged(f"cannot read the checkpoint: {error}") from error
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and bool(tensor.isfinite().all())):
            raise _damaged(f"checkpoint has NaN or infinite values in {name!r}")
    return tensors


def _metadata(data: bytes) -> dict[str, Any]:
    """Return the metadata of a checkpoint."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][_METADATA])
        version, types = (
            metadata["format_version"],
            (type(metadata["spec"]), type(metadata["series_ids"])),
        )
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(
            "not a checkpoint of Forecaster: its metadata is missing or invalid"
        ) from error
    if version != FORMAT_VERSION or types != (str, list):
        raise _incompatible(f"checkpoint format must be {FORMAT_VERSION}, found {version!r}")
    return cast(dict[str, Any], metadata)


def _members(metadata: Mapping[str, Any]) -> int:
    members = metadata.get("members")
    if type(members) is not int or not 1 <= members <= MOST_MEMBERS:
        raise _incompatible(f"members must be 1 to {MOST_MEMBERS}, found {members!r}")
    return members


def _fallback(metadata: Mapping[str, Any]) -> str | None:
    fallback = metadata.get("fallback")
    if fallback is not None and fallback not in list(FALLBACKS):
        raise _incompatible(f"fallback must be one of {list(FALLBACKS)}, found {fallback!r}")
    return fallback


def _series_scale(names: list[Any], scales: Tensor | None) -> dict[str, float]:
    if scales is None or scales.shape != (len(names),) or not {*map(type, names)} <= {str}:
        raise _damaged("the checkpoint must have one scale per series")
    if not bool((scales > 0).all()):
        raise _damaged("the scale of every series must be above 0")
    return dict(zip(names, scales.double().tolist(), strict=True))


def _network(spec: ModelSpec, members: int, tensors: Mapping[str, Tensor]) -> Network:
    """Build the network; its weights are compared with the spec before it is given memory."""
    weights = {
        name.removeprefix(_NETWORK): tensor for name, tensor in tensors.items() if name != _SCALES
    }
    parts = plugins.load(spec)
    with _building(spec), torch.device("meta"):
        member = AttentionLSTM(spec, parts)
        expected = assemble([member] * members).state_dict()
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in weights.items()}
    if shapes != {name: (tensor.dtype, tensor.shape) for name, tensor in expected.items()}:
        raise _incompatible("the weights do not match the shapes of the spec")
    plugins.try_on(spec, parts)
    with torch.random.fork_rng(devices=[]):
        network = assemble([AttentionLSTM(spec, parts) for _ in range(members)])
    network.load_state_dict(weights)
    return network.eval()


@contextmanager
def _building(spec: ModelSpec) -> Iterator[None]:
    try:
        spec.grid()
        yield
    except _UNFIT as error:
        raise _incompatible(f"cannot build a network from the spec: {error}") from error
