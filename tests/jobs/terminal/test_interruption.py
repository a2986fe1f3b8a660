"""Two signals: the first one asks a command for its end, the second one does not ask."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SIGNALLED = """
import signal, sys
from jobs.terminal.interruption import interruptible
with interruptible(lambda: print("heard")) as asked:
    for _ in range(int(sys.argv[2])):
        signal.raise_signal(int(sys.argv[1]))
    assert asked.stopping.is_set()
print(f"ended by itself with {asked.status}")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_only_the_second_signal_ends_it_at_once(number: int, times: int) -> None:
    words = [sys.executable, "-c", SIGNALLED, str(int(number)), str(times)]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == (0 if times == 1 else 128 + number), done.stderr
    assert (f"ended by itself with {128 + number}" in done.stdout) == (times == 1)
