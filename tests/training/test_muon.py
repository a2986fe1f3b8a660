"""Muon in float32: the steps of torch.optim.Muon but for its rounding, and orthogonal updates."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from forecaster.training.muon import Muon, orthogonal

BFLOAT16 = 2.0**-8
"""Relative rounding of torch.optim.Muon, whose update is ten products deep."""
SHAPES = [(16, 16), (64, 16), (16, 64), (1, 8)]


def after_steps(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], shape: tuple[int, int]
) -> Tensor:
    """Return the sum of five steps from zero, with gradients that change."""
    generator = torch.Generator().manual_seed(0)
    matrix = nn.Parameter(torch.zeros(shape))
    optimizer = make([matrix])
    for _ in range(5):
        matrix.grad = torch.randn(shape, generator=generator)
        optimizer.step()
    return matrix.detach()


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_those_of_torch_but_for_its_rounding(shape: tuple[int, int]) -> None:
    ours = after_steps(lambda weights: Muon(weights, 0.5, weight_decay=0.1), shape)
    theirs = after_steps(
        lambda weights: torch.optim.Muon(
            weights, 0.5, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
        shape,
    )

    largest = 10 * BFLOAT16 * float(theirs.abs().max())
    assert float((ours - theirs).abs().max()) < largest
    assert float(theirs.abs().max()) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_an_update_is_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    values = torch.linalg.svdvals(orthogonal(1e3 * matrix))

    assert 0.5 < float(values.min()) <= float(values.max()) < 1.5


def test_a_gradient_of_zero_moves_nothing_and_none_is_left_alone() -> None:
    zero, none = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    zero.grad = torch.zeros(4, 4)

    Muon([zero, none], 0.5, weight_decay=0.0).step()

    assert torch.equal(zero.detach(), torch.ones(4, 4))
    assert torch.equal(none.detach(), torch.ones(4, 4))
