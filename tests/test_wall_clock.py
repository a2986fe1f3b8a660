"""What tests/test_house.py finds: tests that assert how fast something is.

That depends on what else the machine does.
"""

import ast
from collections.abc import Iterable, Iterator

import pytest

from tests.source_code import tree_of

EXCUSE = "# wall clock: "
"""Begins a comment that says why an upper bound in seconds cannot fail on a busy machine."""
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time"}

ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def durations(trees: Iterable[ast.Module]) -> set[str]:
    """The functions that return what a clock shows, or for how long something took."""
    functions = [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, Function) and not node.name.startswith("test_")
    ]
    known: set[str] = set()
    while True:
        clocks = CLOCKS | known
        found = {each.name for each in functions if _returns_time(each, clocks)}
        if found <= known:
            return known
        known |= found


def _returns_time(function: Function, clocks: set[str]) -> bool:
    values = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    given = [value for value in values if isinstance(value, ast.Name | ast.BinOp | ast.Call)]
    names = timed(function, clocks) if given else set()
    return any(_is_time(value, names, clocks) for value in given)


def timed(scope: ast.AST, clocks: set[str]) -> set[str]:
    """The variables that hold what a clock showed, or a length of time that it measured."""
    names: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and _is_time(node.value, names, clocks):
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)
                      and isinstance(name.ctx, ast.Store)}  # fmt: skip
    return names


def _is_time(value: ast.expr, names: set[str], clocks: set[str]) -> bool:
    """Whether a value is of a clock by itself or by sums, extremes and lists."""
    if isinstance(value, ast.Name):
        return value.id in names
    if isinstance(value, ast.BinOp):
        return any(_is_time(side, names, clocks) for side in (value.left, value.right))
    if isinstance(value, ast.ListComp):
        return _is_time(value.elt, names, clocks)
    if not isinstance(value, ast.Call):
        return False
    name = value.func.attr if isinstance(value.func, ast.Attribute) else ""
    name = value.func.id if isinstance(value.func, ast.Name) else name
    return name in clocks or (
        name in {"max", "min", "sum", "sorted", "abs"}
        and any(_is_time(each, names, clocks) for each in value.args)
    )


def findings(source: str, clocks: set[str] = CLOCKS) -> list[int]:
    """The lines that assert that a measured time is less than something that is not measured."""
    lines = source.splitlines()
    scopes = [node for node in ast.walk(tree_of(source)) if isinstance(node, Function)]
    found = {test for scope in scopes for test in _bounded(scope, clocks)}
    return sorted(
        test.lineno
        for test in found
        if not any(EXCUSE in line for line in lines[test.lineno - 1 : test.end_lineno])
    )


def _bounded(scope: Function, clocks: set[str]) -> list[ast.Assert]:
    orders = [(test, pair) for test in _asserts(scope) for pair in _ordered(test)]
    names = timed(scope, clocks) if orders else set()
    return [test for test, pair in orders if _is_bounded(*pair, names, clocks)]


def _asserts(scope: ast.AST) -> Iterator[ast.Assert]:
    yield from (node for node in ast.walk(scope) if isinstance(node, ast.Assert))


def _ordered(test: ast.Assert) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    for node in ast.walk(test.test):
        if isinstance(node, ast.Compare):
            terms = [node.left, *node.comparators]
            pairs = zip(terms, node.ops, terms[1:], strict=False)
            yield from (pair for pair in pairs if isinstance(pair[1], ORDERS))


def _is_bounded(
    left: ast.expr, op: ast.cmpop, right: ast.expr, names: set[str], clocks: set[str]
) -> bool:
    is_time = [_is_time(side, names, clocks) for side in (left, right)]
    if isinstance(op, ast.Lt | ast.LtE):
        return is_time == [True, False]
    return is_time == [False, True]


MEASURED = "def test():\n    began = time.monotonic()\n    work()\n"


@pytest.mark.parametrize(
    "line",
    [
        "assert time.monotonic() - began < 3",
        "assert 3 > time.monotonic() - began",
        "assert 0.25 < time.monotonic() - began < 2",
        "assert least <= perf_counter() - began <= most",
        "took = time.monotonic() - began; assert took < 3",
        "took = [time.monotonic() - began for _ in range(3)]; assert max(took) < LIMIT",
        "assert done and time.monotonic() - began < 3",
    ],
)
def test_a_speed_is_found(line: str) -> None:
    assert findings(f"{MEASURED}    {line}\n") == [4]


@pytest.mark.parametrize(
    "line",
    [
        "assert time.monotonic() - began >= 0.3",
        "one = time.monotonic() - began; other = perf_counter() - began; assert one < other",
        "until = time.monotonic() + 60; assert time.monotonic() < until",
        "assert found.seconds < 3",
        "assert time.monotonic() - began < 3  # wall clock: nothing is waited for",
    ],
)
def test_lower_bounds_comparisons_and_time_limits_are_no_speed(line: str) -> None:
    assert findings(f"{MEASURED}    {line}\n") == []


def test_a_function_that_measures_is_a_clock() -> None:
    measures = "def take():\n    began = monotonic()\n    return monotonic() - began\n"
    clocks = CLOCKS | durations([tree_of(measures)])

    assert "take" in clocks
    assert findings("def test():\n    assert take() < 3\n", clocks) == [2]
