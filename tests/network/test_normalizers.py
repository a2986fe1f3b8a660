"""Normalisers: against bisection, by their gradients, and at the edges."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forecaster.network.normalizers import (
    NORMALISERS,
    Normaliser,
    entmax15,
    softmax,
    sparsemax,
)
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric

any_normaliser = pytest.mark.parametrize("normalise", NORMALISERS.values(), ids=NORMALISERS)
numbers = st.floats(-60, 60) | st.just(-torch.inf) | st.sampled_from([0.0, 1.0, 0.5])
logits = st.lists(numbers, max_size=40).flatmap(
    lambda some: st.permutations([*some, 0.25]).map(lambda row: torch.tensor(row).double())
)
"""Rows with at least one number that is not -inf."""


def bisected(row: Tensor, weights: Callable[[Tensor], Tensor]) -> Tensor:
    """The weights whose threshold, found by halving, makes them sum to 1."""
    low, high = row.max() - 2, row.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if weights(row - middle).sum() > 1 else (low, middle)
    return weights(row - low)


@given(row=logits)
def test_sparsemax_is_the_projection_that_bisection_finds(row: Tensor) -> None:
    expected = bisected(row, lambda above: above.clamp(min=0))
    torch.testing.assert_close(
        sparsemax(row), expected, rtol=0, atol=1e-9
    )  # tolerance: float64, no network


@given(row=logits)
def test_entmax_is_what_bisection_finds(row: Tensor) -> None:
    expected = bisected(row / 2, lambda above: above.clamp(min=0).square())
    torch.testing.assert_close(
        entmax15(row), expected, rtol=0, atol=1e-9
    )  # tolerance: float64, no network


@any_normaliser
@given(row=logits)
def test_weights_are_shares_and_exactly_nothing_is_given_to_what_is_forbidden(
    normalise: Normaliser, row: Tensor
) -> None:
    weights = normalise(row.float())
    assert bool((weights >= 0).all())
    assert_close(weights.double().sum(), 1.0)
    assert weights[row == -torch.inf].abs().sum() == 0


@any_normaliser
@pytest.mark.parametrize("seed", range(4))
def test_gradients_are_those_of_finite_differences(normalise: Normaliser, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        normalise,
        (rows,),
        eps=1e-7,
        atol=1e-4,  # tolerance: finite differences in float64
    )


@any_normaliser
def test_gradients_stay_finite_beside_what_is_forbidden(normalise: Normaliser) -> None:
    free = torch.tensor([[0.3, 0.1, 0.2], [90.0, -90.0, 0.0], [0.0, 0.0, 0.0]]).requires_grad_()
    forbidden = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 0.0, 0.0], [-torch.inf, 0, -torch.inf]])
    (normalise(free + forbidden) * torch.arange(3.0)).sum().backward()
    assert free.grad is not None
    assert bool(free.grad.isfinite().all())


@any_normaliser
def test_one_source_gets_everything(normalise: Normaliser) -> None:
    assert normalise(torch.tensor([[-300.0], [5.0]])).tolist() == [[1], [1]]


def test_the_sparse_ones_leave_out_what_softmax_only_makes_small() -> None:
    row = torch.tensor([3.0, 2.5, 0.0, -1.0])
    assert int((softmax(row) > 0).sum()) == 4
    assert int((entmax15(row) > 0).sum()) == 2
    assert int((sparsemax(row) > 0).sum()) == 2
    assert sparsemax(row).tolist() == pytest.approx([0.75, 0.25, 0, 0])
