"""The table of faults: rows of docs/reference/faults.md, which tests show them, how these went.

A test names its rows with `@pytest.mark.fault(8)`. The table is printed when `--fault-table` is
given, or when the folder of this module is run.
"""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "faults.md"
OUTCOMES = ("passed", "failed", "skipped")

_ROW = "row of docs/reference/faults.md"
PROPERTY = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault: the tests that show it, or why there are none."""

    number: int
    fault: str
    answer: str
    shown_by: str


def rows() -> list[Row]:
    """Return the rows of the page."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        number, *cells = [cell.strip() for cell in line.strip("|").split(" |")]
        if number.isdecimal():
            fault, answer, shown_by = cells
            found.append(Row(number=int(number), fault=fault, answer=answer, shown_by=shown_by))
    return found


def marked() -> dict[int, list[str]]:
    """Return the modules whose tests name each row, as they stand on the page."""
    found = defaultdict(set)
    for module in sorted(TESTS.rglob("test_*.py")):
        for number in _numbers(ast.parse(module.read_text(encoding="utf-8"))):
            found[number].add(module.relative_to(TESTS).with_suffix("").as_posix())
    return {number: sorted(modules) for number, modules in found.items()}


def _numbers(module: ast.Module) -> Iterator[int]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from map(ast.literal_eval, node.args)


class FaultTable:
    """A pytest plug-in that prints what became of each row."""

    def __init__(self) -> None:
        self._rows_of: dict[str, list[int]] = {}
        self._outcomes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note the rows where a report takes them along, from one process to another too."""
        for item in items:
            numbers = {number for mark in item.iter_markers("fault") for number in mark.args}
            item.user_properties += [(_ROW, number) for number in sorted(numbers)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of what setup, test and teardown came to."""
        self._rows_of[report.nodeid] = [
            int(str(number)) for name, number in report.user_properties if name == _ROW
        ]
        if report.outcome != "passed" or report.when == "call":
            before = self._outcomes.get(report.nodeid)
            self._outcomes[report.nodeid] = "failed" if before == "failed" else report.outcome

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("faults (docs/reference/faults.md)")
        terminalreporter.line("     passed  failed  skipped  fault")
        counts, shown = self._counts(), marked()
        for row in rows():
            figures = [counts[row.number][outcome] for outcome in OUTCOMES]
            if any(figures):
                said = "{:6}  {:6}  {:7}".format(*figures)
            else:
                said = "not run" if row.number in shown else row.shown_by.partition(":")[0]
            terminalreporter.line(f"{row.number:3}  {said:23}  {row.fault}")

    def _counts(self) -> dict[int, Counter[str]]:
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for nodeid, outcome in self._outcomes.items():
            for number in self._rows_of.get(nodeid, ()):
                counts[number][outcome] += 1
        return counts


def is_wanted(config: pytest.Config) -> bool:
    """Tell whether the table shall be printed."""
    here = Path(__file__).resolve().parent
    given = (Path(config.invocation_params.dir, word).resolve() for word in config.args)
    return config.getoption("--fault-table") or here in given
