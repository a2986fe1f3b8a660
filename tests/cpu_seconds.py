"""A pytest plug-in that prints the CPU seconds of each folder of tests, and of the slowest tests.

They are those of the process that ran the tests and of the processes it waited for. What belongs
to no test is a line of its own: collection, imports, and the servers that live as long as a
process.
"""

import os
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest

PROPERTY = "cpu_seconds"
ELSE = "collection, imports, servers"
SLOWEST = 15


def spent() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    return sum(os.times()[:4])


class CpuSeconds:
    """Measures each phase of a test where it runs, and adds up where the summary is printed."""

    def __init__(self) -> None:
        self._of_tests: dict[str, float] = defaultdict(float)
        self._in_all = 0.0
        self._before = 0.0
        self._is_last = False

    def pytest_runtest_protocol(self, nextitem: pytest.Item | None) -> None:
        self._before = spent()
        self._is_last = nextitem is None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send the seconds of a phase along, from one process to another too."""
        report = yield
        now = spent()
        if not (self._is_last and call.when == "teardown"):  # which also ends the servers
            report.user_properties.append((PROPERTY, now - self._before))
        self._before = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        seconds = [value for name, value in report.user_properties if name == PROPERTY]
        self._of_tests[report.nodeid] += sum(map(float, map(str, seconds)))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand the whole of a worker process to the one that prints."""
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output[PROPERTY] = spent()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._in_all += getattr(node, "workeroutput", {}).get(PROPERTY, 0.0)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, the dearest folder first."""
        in_all = self._in_all + os.times().user + os.times().system
        of_folders: dict[str, float] = defaultdict(float)
        for test, seconds in self._of_tests.items():
            of_folders[test.partition("::")[0].rpartition("/")[0]] += seconds
        of_folders[ELSE] = in_all - sum(of_folders.values())
        terminalreporter.section(f"CPU seconds: {in_all:.0f}")
        _print(terminalreporter, of_folders, len(of_folders))
        terminalreporter.section("CPU seconds of the slowest tests")
        _print(terminalreporter, self._of_tests, SLOWEST)


def _print(reporter: pytest.TerminalReporter, seconds: dict[str, float], most: int) -> None:
    for name in sorted(seconds, key=seconds.__getitem__, reverse=True)[:most]:
        reporter.line(f"{seconds[name]:8.1f}  {name}")
