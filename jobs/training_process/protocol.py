"""Messages between a training process and its parent; the first one is a panel and what to make of
it, and how."""

import json
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from safetensors.torch import load, save

from forecaster.config.settings import TrainingConfig
from forecaster.data.grid import Grid
from forecaster.data.panel import Panel, PanelCounts
from forecaster.network.spec import ModelSpec
from forecaster.times.durations import Step
from forecaster.times.opening_hours import OpeningHours

Head = dict[str, Any]
"""The JSON object of a message."""

OUT_OF_MEMORY = 71
"""The exit status of a training that was refused memory."""


def send(connection: Connection, head: Head, body: bytes = b"") -> None:
    """Send one message: a JSON object, bytes."""
    connection.send_bytes(json.dumps(head).encode())
    connection.send_bytes(body)


def receive(connection: Connection) -> tuple[Head, bytes]:
    """Receive one message; EOFError or OSError when the other end closes before it is complete."""
    return json.loads(connection.recv_bytes()), connection.recv_bytes()


def pack_task(panel: Panel, spec: ModelSpec, config: TrainingConfig) -> tuple[Head, bytes]:
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
    return head, save(tensors)


def unpack_task(head: Head, body: bytes) -> tuple[Panel, ModelSpec, TrainingConfig]:
    """Undo `pack_task`."""
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
