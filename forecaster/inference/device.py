"""Which device computes, and what happens when its memory runs out."""

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor

from forecaster.errors import ModelError
from forecaster.network.calendar_features import calendar_features
from forecaster.network.ensemble import Network
from forecaster.network.network import NetworkOutput

CPU = torch.device("cpu")
LARGEST_BATCH = 512
"""Windows per forward pass: what a core's caches hold (1024 took a quarter longer)."""
SMALLEST_BATCH = 8
"""Batches are not halved further: a device whose memory is too small for these is not used."""

Result = TypeVar("Result")


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is an NVIDIA GPU if there is one, else the CPU.

    Raises ModelError if the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch without CUDA
        raise ModelError(
            f"device {name!r} is not available on this machine",
            hint='set device = "auto" under [datasets.NAME.training]',
        ) from error


def or_on_cpu(device: torch.device, work: Callable[[torch.device], Result]) -> Result:
    """Do `work` on `device`, and from its start on the CPU should the device's memory run out."""
    try:
        return work(device)
    except torch.OutOfMemoryError:
        if device == CPU:
            raise
    return work(CPU)


class Runner:
    """Runs a network on a device: batches that do not fit are halved, then the CPU computes."""

    def __init__(self, network: Network, device: torch.device) -> None:
        # Moving a network also lays its recurrent weights in one piece again, as cuDNN wants them.
        self._network, self._device = network.to(device).eval(), device
        self.spec, self.batch_size = network.spec, LARGEST_BATCH

    @property
    def device(self) -> torch.device:
        """Where it computes now."""
        return self._device

    @torch.inference_mode()
    def __call__(self, context: Tensor, cutoffs: Tensor) -> NetworkOutput:
        """Forecast from contexts (B, L) that end at the grid indices `cutoffs` (B,).

        They may be on any device; the output is on that of the contexts.
        """
        while True:
            parts = []
            try:
                for values, ends in zip(
                    context.split(self.batch_size), cutoffs.split(self.batch_size), strict=True
                ):
                    calendar = calendar_features(self.spec, ends.to(self._device))
                    output = self._network(values.to(self._device), None, calendar)
                    parts.append(_mapped(lambda part: part.to(context.device), output))
                return _joined(parts)
            except torch.OutOfMemoryError:
                if self.batch_size <= SMALLEST_BATCH and self._device == CPU:
                    raise
            self._reduce_batch()

    def _reduce_batch(self) -> None:
        if self.batch_size > SMALLEST_BATCH:
            self.batch_size //= 2
        else:
            self._network.to(CPU)
            self._device, self.batch_size = CPU, LARGEST_BATCH


def _joined(parts: list[NetworkOutput]) -> NetworkOutput:
    return parts[0] if len(parts) == 1 else _mapped(lambda *same: torch.cat(same), *parts)


def _mapped(function: Callable[..., Tensor], *outputs: NetworkOutput) -> NetworkOutput:
    """Apply `function` to the tensors of the same name."""
    names = [field.name for field in fields(NetworkOutput)]
    return NetworkOutput(
        **{name: function(*(getattr(output, name) for output in outputs)) for name in names}
    )
