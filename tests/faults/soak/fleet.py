"""The replicas of a soak: processes that are started, hurt, started again, and looked after."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

STOPS_WITHIN = 10.0
"""Seconds from SIGTERM to SIGKILL by `docker stop`."""
GIVES_UP = 75
"""What a process ends with that was stuck and left it to its supervisor."""
_DONE = re.compile(r"forecast done dataset=(\S+) tick=(\S+)")
_TRAINS = "jobs.training_process.child"


class Replica:
    """One `forecaster serve`, which is started again whenever it ends."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"replica-{number}"
        self.log = folder / f"{self.name}.log"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.is_stopped = False
        self.ending_since: float | None = None
        self._logged_before = 0

    @property
    def pid(self) -> int:
        """The process that runs, or that ran last."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there and able to work."""
        is_there = self._process is not None and self._process.poll() is None
        return is_there and not self.is_stopped and self.ending_since is None

    @property
    def status(self) -> int | None:
        """How the process ended; None while it is there."""
        assert self._process is not None
        return self._process.poll()

    @property
    def ended_in_start(self) -> bool:
        """Whether SIGTERM ended the process while Python imported it: nothing was begun yet."""
        has_served = b" serving " in self.log.read_bytes()[self._logged_before :]
        return self.status == -signal.SIGTERM and not has_served

    def start(self) -> None:
        """Start the process; it does not outlive this one."""
        self.is_stopped, self.ending_since = False, None
        with self.log.open("ab") as log:
            self._logged_before = log.tell()
            self._process = subprocess.Popen(
                [*_dies_with_us(), sys.executable, "-m", "jobs", "serve"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is still there."""
        assert self._process is not None
        self._process.send_signal(number)
        match number:
            case signal.SIGSTOP:
                self.is_stopped = True
            case signal.SIGCONT:
                self.is_stopped = False
            case signal.SIGTERM:
                self.ending_since = time.monotonic()

    def trainings(self) -> list[psutil.Process]:
        """Return the children that train now."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                with suppress(psutil.NoSuchProcess):
                    found += [child] * (_TRAINS in child.cmdline())
        return found

    def end(self) -> None:
        """End the process whatever it does, and wait for it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Fleet:
    """All replicas, and what they said."""

    def __init__(self, folder: Path, size: int) -> None:
        self.replicas = [Replica(folder, number + 1) for number in range(size)]
        self._folder = folder

    def running(self) -> list[Replica]:
        """Return the replicas that work."""
        return [replica for replica in self.replicas if replica.is_running]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, whatever became of the soak."""
        for replica in self.replicas:
            replica.end()
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def family(self) -> list[psutil.Process]:
        """Return all processes that work in the folder: replicas, and what they started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                is_ours = process.cwd() == str(self._folder)
                found += [process] * (is_ours and process.status() != psutil.STATUS_ZOMBIE)
        return found

    def done(self) -> Counter[tuple[str, str]]:
        """Return how often each tick of each dataset was said to be done."""
        found = (_DONE.search(line) for line in self._lines())
        return Counter((match[1], match[2]) for match in found if match)

    def tracebacks(self) -> list[str]:
        """Return how each traceback in the logs ends: no fault may come out as a bug."""
        found, is_within = [], False
        for line in self._lines():
            is_end = is_within and not line.startswith(" ")
            found += [line] * is_end
            is_within = line.startswith("Traceback") or (is_within and not is_end)
        return found

    def _lines(self) -> Iterator[str]:
        for replica in self.replicas:
            yield from replica.log.read_text(errors="replace").splitlines()


def _dies_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
