"""`forecaster serve` as a process of its own."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

PATIENCE = 60.0
"""Seconds in which things happen, on a busy machine."""
STOPS_WITHIN = 10.0
"""Seconds from SIGTERM to SIGKILL by `docker stop`."""


class Running:
    """A `forecaster serve` that writes its log to a file."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._log = (folder / "serve.log").open("w+")
        self.process = psutil.Popen(
            [sys.executable, "-m", "jobs", "serve"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def becomes(self, condition: Callable[[], bool]) -> bool:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            if condition():
                return True
            time.sleep(0.1)
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status: int = self.process.wait(timeout=STOPS_WITHIN)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


@pytest.fixture
def serve(folder: Path, free_port: int) -> Iterator[Callable[[], Running]]:
    """Start the service in `folder`; it is gone after the test."""
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(folder, free_port))
        return started[-1]

    yield start
    for running in started:
        running.close()
