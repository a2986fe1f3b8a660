import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.replicas.identity import is_gone, new_holder

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
TELL = "from jobs.replicas.identity import new_holder; print(new_holder(), flush=True); input()"


@pytest.fixture
def other() -> subprocess.Popen[str]:
    """Another process, which tells its name and then waits."""
    return subprocess.Popen(
        [sys.executable, "-c", TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_no_two_holders_have_the_same_name() -> None:
    assert new_holder() != new_holder()


def test_a_process_that_lives_is_not_gone() -> None:
    assert not is_gone(new_holder())


def test_a_process_that_was_killed_is_gone_and_one_that_was_stopped_is_not(
    other: subprocess.Popen[str],
) -> None:
    name = told(other)
    other.send_signal(signal.SIGSTOP)
    stopped = is_gone(name)
    other.kill()
    until = time.monotonic() + 5
    while not is_gone(name) and time.monotonic() < until:
        time.sleep(0.01)

    assert not stopped
    assert is_gone(name)
    other.communicate()
    assert is_gone(name)


def test_a_process_that_has_the_pid_of_another_is_not_taken_for_it() -> None:
    boot, namespace, pid, started, chance = new_holder().split("-")

    assert pid == str(os.getpid())
    assert is_gone("-".join([boot, namespace, pid, str(int(started) - 1), chance]))


@pytest.mark.parametrize("place", [0, 1])
def test_of_a_process_elsewhere_nobody_can_tell(place: int) -> None:
    parts = new_holder().split("-")
    parts[place], parts[2] = "1", "999999999"

    assert not is_gone("-".join(parts))


@pytest.mark.parametrize("name", ["", "them", "a-b-c-d", "0-0-1-1-x"])
def test_other_names_say_nothing(name: str) -> None:
    assert not is_gone(name)
