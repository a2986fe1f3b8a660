"""Worker processes that read from sources: started, reused, killed at a deadline."""

import atexit
import io
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from time import monotonic

import polars as pl

from forecaster import errors
from forecaster.errors import ForecasterError, SourceUnavailable
from forecaster.source.query import SourceQuery
from forecaster.source.session import out_of_time

_MODULE = "forecaster.source.worker_process"
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_EXIT_SECONDS = 1.0
"""Grace period for a process to exit by itself, once it has closed its connection."""


class _Worker:
    """One child process, which answers one query at a time."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],  # no module of the current directory
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # drivers and panics print what may hold a password
                start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
            )
        # Reap a worker that exits when idle, so that it does not stay as a zombie.
        threading.Thread(target=self._child.wait, daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.status is None

    @property
    def status(self) -> int | None:
        """The exit status, less than zero for the signal that ended it; None while it runs."""
        return self._child.poll()

    def read(self, request: SourceQuery) -> pl.DataFrame | None:
        """Return the answer; None from a worker that had exited before.

        Raises what the worker raised, and SourceUnavailable when it was killed at the deadline.
        """
        until = monotonic() + request.seconds
        watchdog = threading.Timer(request.seconds, self._kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            answer = self._exchange(request)
        finally:
            watchdog.cancel()
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_EXIT_SECONDS)  # so that its exit status is its own
            self.end()
        if monotonic() >= until:
            raise out_of_time(request)
        return answer

    def _exchange(self, request: SourceQuery) -> pl.DataFrame | None:
        parts: list[pl.DataFrame] = []
        try:
            self._connection.send_bytes(request.to_json().encode())
            while part := self._connection.recv_bytes():
                parts.append(pl.read_ipc_stream(io.BytesIO(part)))
            raised = self._connection.recv_bytes()
        except (EOFError, OSError):
            return None
        if raised:
            raise errors.from_json(json.loads(raised), otherwise=SourceUnavailable)
        return pl.concat(parts)

    def end(self) -> None:
        """Kill the process, and wait until it is gone."""
        self._kill()
        self._child.wait()
        self._connection.close()

    def _kill(self) -> None:
        """Kill the process and what it started, which may hold its connection."""
        if self.is_alive:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)


_idle: list[_Worker] = []
_lock = threading.Lock()


def read(request: SourceQuery) -> pl.DataFrame:
    """Return the rows that a worker reads.

    Raises what the worker raised; SourceUnavailable past the deadline, by when the worker
    has been killed, and for one that dies or does not start.
    """
    worker = _take_idle()
    answer = _answer(worker, request) if worker is not None else None
    if answer is None:
        worker = _Worker()
        answer = _answer(worker, request)
        if answer is None:
            raise _failure(request, worker.status)
    return answer


def _failure(request: SourceQuery, status: int | None) -> SourceUnavailable:
    if status in _KILLED:
        return SourceUnavailable(
            f"source reader for dataset {request.dataset} was killed (out of memory?)",
            hint="give the machine more memory, or shorten history in "
            f"[datasets.{request.dataset}]",
        )
    return SourceUnavailable(
        f"source reader for dataset {request.dataset} exited with status {status}",
        hint=f"run `python -P -m {_MODULE} < /dev/null` to check that it starts",
    )


def _answer(worker: _Worker, request: SourceQuery) -> pl.DataFrame | None:
    try:
        answer = worker.read(request)
    except ForecasterError:
        _release(worker)
        raise
    except BaseException:
        worker.end()
        raise
    _release(worker)
    return answer


def _take_idle() -> _Worker | None:
    """Return an idle worker; those that have exited meanwhile are reaped."""
    with _lock:
        while _idle:
            worker = _idle.pop()
            if worker.is_alive:
                return worker
            worker.end()
    return None


def _release(worker: _Worker) -> None:
    if not worker.is_alive:
        worker.end()
        return
    with _lock:
        _idle.append(worker)


@atexit.register
def end_idle() -> None:
    """End the idle workers."""
    with _lock:
        while _idle:
            _idle.pop().end()
