"""What a training process is handed, as bytes: a panel, what to make of it, and how."""

import json
from dataclasses import asdict
from typing import Any, BinaryIO

from safetensors.torch import load, save

from forecaster.config.settings import TrainingConfig
from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, PanelCounts
from forecaster.network.spec import ModelSpec
from forecaster.times.durations import Step
from forecaster.times.opening_hours import OpeningHours

Head = dict[str, Any]
"""The JSON object in front of the bytes of a message."""

OUT_OF_MEMORY = 71
"""The exit status of a training that was refused memory."""

_LENGTH = 8
"""Bytes of each length in front of a message: that of its head, then that of its body."""


def pack(head: Head, body: bytes) -> bytes:
    """Return one message: two lengths, a JSON object, bytes."""
    text = json.dumps(head).encode()
    lengths = len(text).to_bytes(_LENGTH, "big") + len(body).to_bytes(_LENGTH, "big")
    return lengths + text + body


def unpack(message: bytes) -> tuple[Head, bytes]:
    """Undo `pack`."""
    body_at = 2 * _LENGTH + int.from_bytes(message[:_LENGTH], "big")
    return json.loads(message[2 * _LENGTH : body_at]), message[body_at:]


def read_message(stream: BinaryIO) -> bytes:
    """Read one message from a stream that stays open after it; EOFError if it ends within."""
    lengths = _read_exactly(stream, 2 * _LENGTH)
    rest = sum(int.from_bytes(lengths[at : at + _LENGTH], "big") for at in (0, _LENGTH))
    return lengths + _read_exactly(stream, rest)


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    read = stream.read(size)
    if len(read) < size:
        raise EOFError(f"unexpected end of input: expected {size} bytes, got {len(read)}")
    return read


def pack_task(panel: Panel, spec: ModelSpec, config: TrainingConfig) -> bytes:
    """Return what a child needs, as one message."""
    grid = panel.grid
    head = {
        "grid": {**asdict(grid), "step": str(grid.step), "hours": str(grid.hours or "")},
        "series_ids": panel.series_ids,
        "start": panel.start,
        "counts": asdict(panel.counts),
        "spec": spec.to_json(),
        "config": asdict(config),
    }
    tensors = {
        "deviations": panel.deviations.contiguous(),
        "offset": panel.offset.contiguous(),
        "scale": panel.scale.contiguous(),
    }
    return pack(head, save(tensors))


def unpack_task(message: bytes) -> tuple[Panel, ModelSpec, TrainingConfig]:
    """Undo `pack_task`."""
    head, body = unpack(message)
    step, rules = (head["grid"].pop(name) for name in ("step", "hours"))
    hours = OpeningHours.parse(rules) if rules else None
    panel = Panel(
        grid=Grid(step=Step.parse(step), hours=hours, **head["grid"]),
        series_ids=tuple(head["series_ids"]),
        start=head["start"],
        counts=PanelCounts(**head["counts"]),
        **load(body),
    )
    return panel, ModelSpec.from_json(head["spec"]), TrainingConfig(**head["config"])
