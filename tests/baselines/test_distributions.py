"""Quantiles of Student's t and of mixtures of normals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forecaster.baselines.distributions import (
    mixture_quantiles,
    normal_quantiles,
    student_t_quantiles,
)
from forecaster.schemas import QUANTILE_LEVELS
from tests.tolerance import RELATIVE

pytestmark = pytest.mark.numeric

MEDIAN = QUANTILE_LEVELS.index(0.5)


def mixtures(batch: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, means, scales = torch.randn(3, batch, 3, generator=generator, dtype=torch.float64)
    return logits.softmax(1), means, scales.exp()


def mass(at: Tensor, weights: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    z = (at[..., None] - means[:, None]) / scales[:, None]
    below: Tensor = (weights[:, None] * torch.special.ndtr(z)).sum(-1)
    return below


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_student_t_agrees_with_scipy_from_two_degrees_to_the_normal_limit(
    dtype: torch.dtype,
) -> None:
    stats = pytest.importorskip("scipy.stats")
    degrees = np.concatenate(([2.0, 2.01], np.geomspace(2.02, 1e6, 500)))
    expected = torch.tensor(stats.t.ppf(np.array(QUANTILE_LEVELS), degrees[:, None]))
    found = student_t_quantiles(torch.tensor(degrees, dtype=dtype), QUANTILE_LEVELS).double()
    share = 1e-10 if dtype == torch.float64 else RELATIVE
    torch.testing.assert_close(found, expected, rtol=share, atol=0)


@pytest.mark.parametrize(
    ("degrees", "expected"),  # tables of any textbook
    [(3.0, [2.35336, 3.18245]), (30.0, [1.69726, 2.04227]), (torch.inf, [1.64485, 1.95996])],
)
def test_student_t_agrees_with_the_tables(degrees: float, expected: list[float]) -> None:
    found = student_t_quantiles(torch.tensor(degrees), QUANTILE_LEVELS)
    torch.testing.assert_close(found[-2:], torch.tensor(expected), rtol=1e-5, atol=0)


def test_student_t_has_the_gradient_of_its_quantiles() -> None:
    degrees = torch.tensor([2.1, 3.0, 7.0, 100.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda n: student_t_quantiles(n, QUANTILE_LEVELS), (degrees,))


def test_a_mixture_of_equal_parts_is_the_normal_distribution() -> None:
    ones = torch.ones(1, 3, dtype=torch.float64)
    found = mixture_quantiles(ones / 3, 5 * ones, 2 * ones, QUANTILE_LEVELS)
    expected = 5 + 2 * torch.tensor(normal_quantiles(QUANTILE_LEVELS), dtype=torch.float64)
    torch.testing.assert_close(
        found[0], expected, rtol=1e-9, atol=0
    )  # tolerance: float64, no network


def test_the_mass_below_a_mixtures_quantile_is_its_level() -> None:
    weights, means, scales = mixtures(500)
    found = mixture_quantiles(weights, means, scales, QUANTILE_LEVELS)
    expected = torch.tensor(QUANTILE_LEVELS, dtype=torch.float64).expand(500, -1)
    found = mass(found, weights, means, scales)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # tolerance: float64, no network


def test_a_mixture_has_the_gradient_of_the_implicit_function() -> None:
    weights, means, scales = mixtures(6)
    parameters = [part.clone().requires_grad_() for part in (weights.log(), means, scales.log())]
    assert torch.autograd.gradcheck(
        lambda w, m, s: mixture_quantiles(w.softmax(1), m, s.exp(), QUANTILE_LEVELS),
        parameters,
        eps=1e-4,
        atol=1e-5,  # tolerance: finite differences in float64
    )


@given(
    logits=st.lists(st.floats(-50, 50), min_size=3, max_size=3),
    means=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    scales=st.lists(st.floats(1e-4, 1e6), min_size=3, max_size=3),
)
def test_no_mixture_crosses_or_is_infinite_nor_is_its_gradient(
    logits: list[float], means: list[float], scales: list[float]
) -> None:
    parameters = [torch.tensor([part], requires_grad=True) for part in (logits, means, scales)]
    found = mixture_quantiles(
        parameters[0].softmax(1), parameters[1], parameters[2], QUANTILE_LEVELS
    )
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert bool((found.diff(dim=1) >= 0).all())
    for part in parameters:
        assert part.grad is not None
        assert bool(part.grad.isfinite().all())
