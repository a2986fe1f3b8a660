"""Devices whose memory runs out: less at once, then the CPU."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from forecaster.inference.device import (
    CPU,
    LARGEST_BATCH,
    SMALLEST_BATCH,
    Runner,
    or_on_cpu,
)
from forecaster.network.network import AttentionLSTM, NetworkOutput
from tests.network.networks import contexts, small_network, small_spec
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric

SPEC = small_spec(layers=1)
CUTOFFS = torch.arange(50)
META = torch.device("meta")
"""A device without memory."""


class Crowded(AttentionLSTM):
    """A network on a device with room for so many windows."""

    room = 20

    def forward(
        self, context: Tensor, hidden: Tensor | None = None, calendar: Tensor | None = None
    ) -> NetworkOutput:
        if len(context) > self.room or context.is_meta:
            raise torch.OutOfMemoryError(f"no room for {len(context)} windows")
        return super().forward(context, hidden, calendar)

    def to(self, *args: object, **kwargs: object) -> "Crowded":
        """Stay in memory: what is on the meta device is lost."""
        return self


def crowded(room: int) -> Crowded:
    network = Crowded(SPEC)
    network.load_state_dict(small_network(SPEC).state_dict())
    network.room = room
    return network


def test_a_batch_that_does_not_fit_is_halved_and_forecasts_the_same() -> None:
    context = contexts(50, SPEC.context_length)
    run = Runner(crowded(20), CPU)

    found = run(context, CUTOFFS[: len(context)])

    assert run.batch_size == LARGEST_BATCH // 32 == 16
    expected = small_network(SPEC)(context)
    for field in fields(NetworkOutput):
        assert_close(getattr(found, field.name), getattr(expected, field.name))


def test_a_device_without_room_gives_way_to_the_cpu() -> None:
    context = contexts(5, SPEC.context_length)
    run = Runner(crowded(LARGEST_BATCH), META)

    found = run(context, CUTOFFS[: len(context)])

    assert run.device == CPU
    assert found.level.device == CPU
    assert_close(found.level, small_network(SPEC)(context).level)


def test_a_cpu_without_room_says_so() -> None:
    run = Runner(crowded(SMALLEST_BATCH - 1), CPU)

    with pytest.raises(torch.OutOfMemoryError, match=f"no room for {SMALLEST_BATCH} windows"):
        run(contexts(50, SPEC.context_length), CUTOFFS)


def test_no_windows_at_all_have_outputs_of_the_right_shapes() -> None:
    found = Runner(small_network(SPEC), CPU)(torch.empty(0, SPEC.context_length), CUTOFFS[:0])

    assert found.deviations.shape == (0, SPEC.prediction_length, 13)


def test_work_that_does_not_fit_is_done_again_on_the_cpu() -> None:
    seen = []

    def work(device: torch.device) -> str:
        seen.append(device)
        if device != CPU:
            raise torch.OutOfMemoryError("no room")
        return "done"

    assert or_on_cpu(META, work) == "done"
    assert seen == [META, CPU]


def test_work_that_does_not_fit_on_the_cpu_either_fails() -> None:
    def work(device: torch.device) -> str:
        raise torch.OutOfMemoryError(f"no room on {device}")

    with pytest.raises(torch.OutOfMemoryError, match="no room on cpu"):
        or_on_cpu(CPU, work)
