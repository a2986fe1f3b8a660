"""A stop fits into the ten seconds that `docker stop` gives, whatever the process is at."""

import signal
import subprocess
import sys

import pytest

from jobs.commands import serve
from jobs.http import server
from jobs.replicas.lease_keeper import POLL_ENDS_WITHIN
from jobs.service import service
from tests.conftest import ROOT
from tests.jobs.service.serving import STOPS_WITHIN

STUCK = """
import sys, threading, time
from jobs.commands.serve import log_to_stderr, stop_on_signals
stop_on_signals(threading.Event(), within=0.2)
log_to_stderr()
print("ready", flush=True)
{act}
"""
ACTS = [
    pytest.param("time.sleep(1000)", id="sleeps"),
    pytest.param(
        "threading.Thread(target=time.sleep, args=(1000,)).start()",
        id="cannot be joined",
        marks=pytest.mark.skipif(
            (3, 12) <= sys.version_info < (3, 12, 3),
            reason="no thread starts once the main one has ended: python/cpython#113964",
        ),
    ),
    pytest.param("while True: pass", id="spins"),
]


def test_every_part_of_a_stop_fits_into_the_grace() -> None:
    parts = service.FINISH_SECONDS + service.RELEASE_SECONDS + server.STOP_SECONDS

    assert POLL_ENDS_WITHIN < service.RELEASE_SECONDS
    assert parts + serve.FLUSH_SECONDS < serve.GRACE
    assert serve.GRACE + serve.FLUSH_SECONDS < STOPS_WITHIN


@pytest.mark.fault(27)
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_stuck_ends_all_the_same(act: str, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(act=act)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "cancelled running jobs" in said
