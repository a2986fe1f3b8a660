"""A reader of the tutorial: a folder, a shell that keeps its variables, and a service beside it."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.patience import PATIENCE, eventually

LONGEST = 1800.0
"""Seconds after which a command is ended, on however busy a machine."""

OURS = ("FORECASTER_", "OMP_", "PG", "PYTHON", "VIRTUAL_ENV")
"""What the names of variables begin with that a new user has not set."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a command; `status` is its exit status."""

    seconds: float
    cpu_seconds: float
    status: int
    output: str


def cpu_seconds() -> float:
    """Return the CPU time of the children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment(folder: Path, constraints: Path) -> dict[str, str]:
    """Return the variables of a shell that knows nothing of this checkout but its constraints."""
    ours = str(Path(sys.prefix) / "bin")
    path = [each for each in os.environ.get("PATH", os.defpath).split(os.pathsep) if each != ours]
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
        "PATH": os.pathsep.join([str(programs), *path]),
        "PIP_CONSTRAINT": str(constraints),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_PROGRESS_BAR": "off",
    }


class Reader:
    """Types commands into one shell after another, each with the variables the last one left."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._left = folder / "variables"
        self._log = folder / "log"
        self._variables = dict(variables)
        self._service: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the service, if it still runs."""
        if self._service is not None:
            self._service.kill()
            self._service.wait()

    @property
    def serves(self) -> bool:
        return self._service is not None

    def write(self, name: str, content: str) -> None:
        (self.home / name).write_text(content, encoding="utf-8")

    def type(self, commands: Iterable[str]) -> list[Done]:
        """Run commands up to the first that fails."""
        results: list[Done] = []
        for command in commands:
            results.append(self._run(command))
            if results[-1].status:
                break
        return results

    def start(self, command: str, is_up: Callable[[str], bool]) -> Done:
        """Start a service, and wait until it printed what is expected, ended, or took too long."""
        began = time.monotonic(), cpu_seconds()
        with self._log.open("wb") as log:
            service = subprocess.Popen(**self._shell(f"exec {command}"), stdout=log)
        self._service = service
        eventually(lambda: service.poll() is not None or is_up(self._log.read_text()))
        return self._done(began, service.poll() or 0, self._log.read_text())

    def stop(self) -> Done:
        """End the service as a supervisor would."""
        service, self._service = self._service, None
        assert service is not None
        began = time.monotonic(), cpu_seconds()
        service.send_signal(signal.SIGTERM)
        status = service.wait(PATIENCE)
        return self._done(began, status, self._log.read_text())

    def _run(self, command: str) -> Done:
        script = f'{command}\nstatus=$?; env -0 > "{self._left}"; exit $status'
        began = time.monotonic(), cpu_seconds()
        done = subprocess.run(
            **self._shell(script), stdout=subprocess.PIPE, timeout=LONGEST, check=False
        )
        pairs = (line.partition("=") for line in self._left.read_text().split("\0") if line)
        self._variables = {name: value for name, _, value in pairs}
        return self._done(began, done.returncode, done.stdout)

    def _shell(self, script: str) -> Any:
        """Return the options of a process that runs a script where the reader is."""
        return {
            "args": ["bash", "-c", script],
            "cwd": self.home,
            "env": self._variables,
            "stdin": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "text": True,
        }

    def _done(self, began: tuple[float, float], status: int, output: str) -> Done:
        return Done(
            seconds=time.monotonic() - began[0],
            cpu_seconds=cpu_seconds() - began[1],
            status=status,
            output=output.replace(str(self.home), "."),
        )
