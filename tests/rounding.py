"""Matrix products that round as another processor would, on this one.

Which order a processor adds the terms of a product in depends on its vector width, on the number
of threads and on the shape, so a row that shares a batch with others may come out another way than
alone. With `PERTURB_PRODUCTS=1` every product is off by up to half an ulp of the sum of its
terms' sizes, by place and shape: the same call always gives the same, another batch another thing.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_PRIME = 1_000_003
_overrides: list[torch.library.Library] = []


def perturb() -> None:
    """Replace the products of the whole process, in every thread."""
    torch._C._set_mkldnn_enabled(False)  # an LSTM is then made of products like everything else
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, product in (("mm", _mm), ("bmm", _bmm), ("addmm", _addmm)):
            library.impl(name, product, "CPU")
    _overrides.append(library)


def _mm(one: Tensor, other: Tensor) -> Tensor:
    return _rounded(torch.ops.aten.mm.out, one, other)


def _bmm(one: Tensor, other: Tensor) -> Tensor:
    return _rounded(torch.ops.aten.bmm.out, one, other)


def _addmm(
    bias: Tensor, one: Tensor, other: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    product = _mm(one, other)
    return bias * beta + product * alpha


def _rounded(product: Callable[..., Any], one: Tensor, other: Tensor) -> Tensor:
    shape = (*one.shape[:-1], other.shape[-1])
    found, sizes = one.new_empty(shape), one.new_empty(shape)
    product(one, other, out=found)
    if not found.is_floating_point():
        return found
    product(one.abs(), other.abs(), out=sizes)
    place = torch.arange(found.numel(), device=found.device).view(shape)
    off = torch.sin(((place + 1) * _PRIME + math.prod(shape)) % 6151).to(found.dtype)
    off[_is_whole(one, -1).unsqueeze(-1) & _is_whole(other, -2).unsqueeze(-2)] = 0
    noise = off * sizes * (torch.finfo(found.dtype).eps / 2)
    return found + torch.where(noise.isfinite(), noise, 0.0)


def _is_whole(terms: Tensor, dim: int) -> Tensor:
    """Where all terms are whole numbers, such as counts, whose sum is exact in any order."""
    return (terms == terms.round()).all(dim)
