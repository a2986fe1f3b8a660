"""What tests/test_house.py finds: floats compared otherwise than by tests/tolerance.py."""

import ast
from collections.abc import Iterator

import pytest
import torch

from tests.source_code import tree_of
from tests.tolerance import RELATIVE, ULP, assert_close

EXCUSE = "# tolerance: "
"""Begins a comment that says why these floats did not go through a network, or what is meant."""
DERIVED = {"within", "RELATIVE"}
ABSOLUTE = {"abs", "abs_tol", "atol", "tolerance"}
SHARES = {"rel", "rel_tol", "rtol"}
NEEDS = {
    "assert_allclose": {"rtol"},
    "allclose": {"rtol", "atol"},
    "isclose": {"rel_tol", "rtol"},
    "assert_frame_equal": {"check_exact", "abs_tol"},
    "assert_series_equal": {"check_exact", "abs_tol"},
}
"""What says one of these has to be given: the default is absolute, or below an ulp of float32."""
SMALL = 0.01
"""A number this small beside `<` is a tolerance."""


def findings(source: str) -> list[int]:
    """The lines of comparisons with a tolerance of their own."""
    lines = source.splitlines()
    return sorted(
        node.lineno
        for node in ast.walk(tree_of(source))
        if isinstance(node, ast.expr | ast.stmt)
        if _has_own_tolerance(node)
        if not any(EXCUSE in line for line in lines[node.lineno - 1 : node.end_lineno])
    )


def _has_own_tolerance(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [each.id.lower() for each in targets if isinstance(each, ast.Name)]
        is_one = any("tolerance" in name for name in names)
        return is_one and node.value is not None and any(_numbers(node.value))
    if isinstance(node, ast.Call):
        return _lacks_a_tolerance(node) or any(map(_is_own, node.keywords))
    if isinstance(node, ast.Compare):
        is_order = all(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops)
        sides = [node.left, *node.comparators]
        return is_order and any(0 < each < SMALL for side in sides for each in _numbers(side))
    return False


def _lacks_a_tolerance(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    name = call.func.id if isinstance(call.func, ast.Name) else name
    given = {keyword.arg for keyword in call.keywords}
    if name == "assert_close" and isinstance(call.func, ast.Attribute):  # of torch
        return "atol" not in given
    return name in NEEDS and not NEEDS[name] & given


def _is_own(keyword: ast.keyword) -> bool:
    if DERIVED & {node.id for node in ast.walk(keyword.value) if isinstance(node, ast.Name)}:
        return False
    if keyword.arg in ABSOLUTE:
        return [*_numbers(keyword.value)] != [0]
    return keyword.arg in SHARES and any(0 < each < RELATIVE for each in _numbers(keyword.value))


def _numbers(expression: ast.expr) -> Iterator[float]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield abs(node.value)


@pytest.mark.parametrize(
    "source",
    [
        "x == approx(1, abs=1e-5)",
        "x == pytest.approx(1, rel=0, abs=1)",
        "x == approx(y, abs=1e-6 * spread)",
        "x == approx(1, rel=1e-9)",
        "assert abs(a - b) < 1e-5",
        "assert 1e-5 > abs(a - b)",
        "assert ((a - b).abs() <= b + 1e-6).all()",
        "assert error < 1e-4 * spread",
        "torch.testing.assert_close(a, b)",
        "torch.testing.assert_close(a, b, rtol=0, atol=1e-6)",
        "np.testing.assert_allclose(a, b)",
        "np.testing.assert_allclose(a, b, rtol=1e-7)",
        "np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3)",
        "assert torch.allclose(a, b)",
        "assert math.isclose(a, b, abs_tol=1e-5)",
        "assert_frame_equal(a, b)",
        "assert_frame_equal(a, b, rel_tol=1e-5, abs_tol=1e-5)",
        "assert differences(a, b, tolerance=1e-7) == []",
        "TOLERANCE = 1e-2",
    ],
)
def test_a_tolerance_of_ones_own_is_found(source: str) -> None:
    assert findings(source) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "x == approx(y)",
        "x == approx(1, abs=within(30))",
        "x == approx(1, rel=RELATIVE, abs=0)",
        "x == approx(math.sqrt(10), rel=0.15)",
        "assert x < 0.5",
        "assert error < within(spread)",
        "assert_close(a, b, scale=100)",
        "torch.testing.assert_close(a, b, rtol=0, atol=0)",
        "np.testing.assert_allclose(a, b, rtol=RELATIVE)",
        "assert_frame_equal(a, b, check_exact=True)",
        "assert a == b",
        "x == approx(1, abs=0.04)  # tolerance: a share of random draws",
        "x == approx(\n    1, abs=0.04  # tolerance: a share of random draws\n)",
    ],
)
def test_what_is_derived_exact_or_excused_passes(source: str) -> None:
    assert findings(source) == []


def test_rounding_is_close_and_more_is_not() -> None:
    values = torch.tensor([1000.0, 1e-6, torch.nan, torch.inf])

    assert_close(values * (1 + 3 * ULP), values)
    for wrong in (values + 0.1, values.nan_to_num(nan=0.0), values[:3], -values):
        with pytest.raises(AssertionError):
            assert_close(wrong, values)


def test_the_scale_is_of_each_number() -> None:
    found, expected = torch.tensor([[1e3], [1.0]]), torch.tensor([[1e3 + 1e-3], [1.0 + 1e-3]])

    assert_close(found[:1], expected[:1], torch.tensor([[1e3]]))
    with pytest.raises(AssertionError, match=r"1 of 2 differ .* at \(1, 0\)"):
        assert_close(found, expected, torch.tensor([[1e3], [1.0]]))
