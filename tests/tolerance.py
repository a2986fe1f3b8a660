"""How far two floats may lie apart that went through a network: once, for every test.

A network computes in float32 (u = 2⁻²⁴ is half an ulp of 1). How a processor adds the n terms of a
product, and so how it rounds, depends on its vector width, on the number of threads and on how many
rows share the batch. Two orders of n terms differ by about √n·u of the sum of the terms' sizes, and
never by more than 2·(n − 1)·u (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
section 4.2). A forecast is some ten products deep, of 64 terms or fewer in the tests: √64·10·u =
40 ulp, rounded up to a power of two. The ulp is one of the *scale* of what is compared, such as a
level or a spread, not of the value: near zero a value is what two large terms leave of each other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from polars.testing import assert_frame_equal
from torch import Tensor

ULP = 2.0**-23
RELATIVE = 64 * ULP
"""7.6e-6 of the scale."""

Numbers = Tensor | pl.Series | np.ndarray[Any, Any] | Sequence[Any] | float


def within(scale: float = 1.0) -> float:
    """The tolerance for numbers of a scale."""
    return RELATIVE * abs(scale)


def assert_close(found: Numbers, expected: Numbers, scale: Numbers | None = None) -> None:
    """Fail where two arrays of the same shape differ by more than rounding.

    `scale` has one number or a shape that broadcasts; without it the largest size in both is taken.
    Missing values have to be at the same places.
    """
    one, other = _array(found), _array(expected)
    assert one.shape == other.shape, f"expected shape {other.shape}, found {one.shape}"
    size = _largest(one, other) if scale is None else np.abs(_array(scale))
    assert np.array_equal(np.isnan(one), np.isnan(other)), "missing values at other places"
    same = (one == other) | np.isnan(one)
    error = np.where(same, 0.0, np.abs(np.where(same, 0.0, one) - np.where(same, 0.0, other)))
    allowed = np.broadcast_to(RELATIVE * size, error.shape)
    wrong = ~(error <= allowed)
    if wrong.any():
        at = np.unravel_index(int(np.argmax(np.where(wrong, error, -1.0))), error.shape)
        raise AssertionError(
            f"{int(wrong.sum())} of {error.size} differ by more than rounding, most at"
            f" {tuple(map(int, at))}: expected {other[at]}, found {one[at]},"
            f" allowed {allowed[at]:.3g}"
        )


def assert_same_rows(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Fail where frames differ by more than a source that keeps float32 rounds."""
    assert_frame_equal(found, expected, rel_tol=RELATIVE, abs_tol=0)


def _array(numbers: Numbers) -> np.ndarray[Any, np.dtype[np.float64]]:
    if isinstance(numbers, torch.Tensor):
        numbers = numbers.detach().cpu().double().numpy()
    return np.asarray(numbers, dtype=np.float64)


def _largest(*arrays: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    sizes = [np.abs(each[np.isfinite(each)]).max(initial=0.0) for each in arrays]
    return float(max(sizes))
