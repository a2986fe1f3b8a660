"""Train in a process that can be killed (`jobs.training_process.child`)."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, sleep

from forecaster import errors
from forecaster.config.settings import TrainingConfig
from forecaster.data.panel import Panel
from forecaster.errors import ForecasterError, RunError, StageTimedOut
from forecaster.network.spec import ModelSpec
from forecaster.training.estimator import Progress
from jobs.retrain import Fitted, OnProgress, Watch, unwatched
from jobs.training_process.protocol import OUT_OF_MEMORY, Head, pack_task, unpack

SILENCE = 60.0
"""Seconds without a heartbeat after which a training counts as hung."""

_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PREFIXES = ("LC_", "PYTHON", "OMP_", "MKL_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_")
_STDERR_LINES = 20
"""Lines of stderr that are kept to explain a crash."""
_POLL_SECONDS = 0.1
_KILL_SECONDS = 10.0
"""Seconds to wait for a killed process."""
_LESS_HISTORY = "give the machine more memory, or set a shorter `history`"
_MORE_MEMORY = "raise memory_limit_gb under [datasets.NAME.training], or set a shorter `history`"


def fit_in_child(
    panel: Panel,
    spec: ModelSpec,
    config: TrainingConfig,
    *,
    watch: Watch = unwatched,
    on_progress: OnProgress | None = None,
    silence: float = SILENCE,
) -> Fitted:
    """Train in a child process and return its checkpoint.

    `watch` is called ten times a second, `on_progress` with the steps that the child reports.
    Raises what `watch` or the child raised; StageTimedOut when the child shows no heartbeat for
    `silence` seconds; RunError when it was killed, ran out of memory or crashed. When this
    returns, the child has ended, and so have its own children.
    """
    child = subprocess.Popen(
        # -P: no module of the current directory
        [sys.executable, "-P", "-m", f"{__package__}.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(os.environ),
        start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
    )
    pipes = _Pipes(child, pack_task(panel, spec, config), on_progress)
    try:
        _wait(child, pipes, watch, silence)
    finally:
        _end(child)
        pipes.end()
    return pipes.result()


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may see: enough to run, no secrets; its threads wait without spinning."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _ENVIRONMENT or name.startswith(_PREFIXES)
    }
    return {**kept, "OMP_WAIT_POLICY": "PASSIVE"}


def _wait(child: subprocess.Popen[bytes], pipes: "_Pipes", watch: Watch, silence: float) -> None:
    while child.poll() is None:
        watch(pipes.progress)
        if monotonic() - pipes.last_heartbeat > silence:
            raise StageTimedOut(
                f"training process killed: no heartbeat for {silence:g} s",
                hint="check whether the machine is swapping or the GPU hangs",
            )
        sleep(_POLL_SECONDS)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and all of its session, which may hold its pipes."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # a driver may keep it for longer
        child.wait(_KILL_SECONDS)


class _Pipes:
    """The three pipes of a child, each served by a thread so that none can block another."""

    def __init__(
        self, child: subprocess.Popen[bytes], task: bytes, on_progress: OnProgress | None
    ) -> None:
        self.last_heartbeat = monotonic()
        """When the child last wrote a line."""
        self.progress: Progress | None = None
        self._child = child
        self._task = task
        self._on_progress = on_progress
        self._answer = b""
        self._raised: Head | None = None
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._threads = [
            threading.Thread(target=serve, daemon=True)
            for serve in (self._feed, self._collect, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Close the pipes of a child that has ended, unless another process holds them."""
        streams = (self._child.stdin, self._child.stdout, self._child.stderr)
        for thread, pipe in zip(self._threads, streams, strict=True):
            assert pipe is not None
            thread.join(_KILL_SECONDS)
            if not thread.is_alive():  # else somebody holds the other end, and closing would wait
                with suppress(BrokenPipeError):  # what a killed child did not read
                    pipe.close()

    def result(self) -> Fitted:
        """Return the answer, or raise what kept the child from giving one."""
        if self._raised is not None:
            raise rebuild(self._raised)
        if self._child.returncode != 0:
            raise exit_error(self._child.returncode, "\n".join(self._stderr) or "nothing")
        if self._threads[1].is_alive():
            raise RunError("training process left a child process that holds its pipes open")
        head, body = unpack(self._answer)
        return Fitted(checkpoint=body, **head)

    def _feed(self) -> None:
        pipe = self._child.stdin
        assert pipe is not None
        try:
            pipe.write(self._task)
            pipe.flush()
        except BrokenPipeError:
            pass  # the child has died; its exit status says how

    def _collect(self) -> None:
        assert self._child.stdout is not None
        self._answer = self._child.stdout.read()

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for raw in self._child.stderr:
            text = raw.decode(errors="replace").rstrip()
            message = _parsed(text)
            self.last_heartbeat = monotonic()
            if "progress" in message:
                self.progress = Progress(**message["progress"])
                if self._on_progress is not None:
                    self._on_progress(self.progress)
            elif "raised" in message:
                self._raised = message["raised"]
            elif not message:
                self._stderr.append(text)


def _parsed(text: str) -> Head:
    if not text.startswith("{"):
        return {}
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def exit_error(status: int, stderr: str) -> RunError:
    """Return what an exit status other than 0 means; `stderr` is the end of its output."""
    number = -status if status < 0 else status - 128
    if status == OUT_OF_MEMORY:
        return RunError("training process exceeded its memory_limit_gb", hint=_MORE_MEMORY)
    if number == signal.SIGKILL:
        return RunError(
            "training process was killed (out of memory?)",
            hint=_LESS_HISTORY,
        )
    if number in set(signal.Signals):
        how = f"was terminated by {signal.Signals(number).name}"
    else:
        how = f"exited with status {status}"
    return RunError(f"training process {how}; stderr: {stderr}")


def rebuild(raised: Head) -> ForecasterError:
    """Return the failure that a child reported."""
    kind = getattr(errors, raised["kind"], RunError)
    error: ForecasterError = kind(raised["message"], hint=raised["hint"])
    return error
