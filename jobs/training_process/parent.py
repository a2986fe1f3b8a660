"""Train in a process that can be killed (`jobs.training_process.child`)."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from time import monotonic, sleep

from forecaster import errors
from forecaster.config.settings import TrainingConfig
from forecaster.data.panel import Panel
from forecaster.errors import RunError, StageTimedOut
from forecaster.network.spec import ModelSpec
from forecaster.training.estimator import Progress
from jobs.retrain import Fitted, OnProgress, Watch, unwatched
from jobs.training_process.protocol import OUT_OF_MEMORY, Head, pack_task, receive, send

SILENCE = 60.0
"""Seconds without a heartbeat after which a training counts as hung."""

_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PREFIXES = ("LC_", "PYTHON", "OMP_", "MKL_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_")
_OUTPUT_LINES = 20
"""Lines of output that are kept to explain a crash."""
_POLL_SECONDS = 0.1
_KILL_SECONDS = 10.0
"""Seconds to wait for a killed process, and for each thread that serves it."""
_LESS_HISTORY = "give the machine more memory, or set `max_points` under [datasets.NAME.training]"
_MORE_MEMORY = "raise memory_limit_gb under [datasets.NAME.training], or lower its max_points"


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
    connection, theirs = Pipe()
    with theirs:
        child = subprocess.Popen(
            # -P: no module of the current directory
            [sys.executable, "-P", "-m", f"{__package__}.child"],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
        )
    dialogue = _Dialogue(child, connection, pack_task(panel, spec, config), on_progress)
    try:
        _wait(child, dialogue, watch, silence)
    finally:
        _end(child)
        dialogue.end()
    return dialogue.result()


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may see: enough to run, no secrets; its threads wait without spinning."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _ENVIRONMENT or name.startswith(_PREFIXES)
    }
    return {**kept, "OMP_WAIT_POLICY": "PASSIVE"}


def _wait(
    child: subprocess.Popen[bytes], dialogue: "_Dialogue", watch: Watch, silence: float
) -> None:
    while child.poll() is None:
        watch(dialogue.progress)
        if monotonic() - dialogue.last_heartbeat > silence:
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


class _Dialogue:
    """The connection to a child and its output, each served by a thread so that none can block."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        connection: Connection,
        task: tuple[Head, bytes],
        on_progress: OnProgress | None,
    ) -> None:
        self.last_heartbeat = monotonic()
        """When the child last sent a message."""
        self.progress: Progress | None = None
        self._child, self._connection, self._task = child, connection, task
        self._on_progress = on_progress
        self._fitted: Fitted | None = None
        self._raised: Head | None = None
        self._output: deque[bytes] = deque(maxlen=_OUTPUT_LINES)
        serving = (self._send_task, self._receive, self._keep_output)
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in serving]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Close what leads to a child that has ended, unless another process holds it."""
        for thread in self._threads:
            thread.join(_KILL_SECONDS)
        if not any(thread.is_alive() for thread in self._threads):
            self._connection.close()
            assert self._child.stdout is not None
            self._child.stdout.close()

    def result(self) -> Fitted:
        """Return the answer, or raise what kept the child from giving one."""
        if self._raised is not None:
            raise errors.from_json(self._raised)
        if self._fitted is None or self._child.returncode != 0:
            output = b"".join(self._output).decode(errors="replace").rstrip()
            raise exit_error(self._child.returncode, output or "nothing")
        return self._fitted

    def _send_task(self) -> None:
        with suppress(OSError):  # the child has died; its exit status says how
            send(self._connection, *self._task)

    def _receive(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                head, body = receive(self._connection)
                self.last_heartbeat = monotonic()
                match head:
                    case {"progress": progress}:
                        self._show(Progress(**progress))
                    case {"raised": raised}:
                        self._raised = raised
                    case {"fitted": fitted}:
                        self._fitted = Fitted(checkpoint=body, **fitted)

    def _show(self, progress: Progress) -> None:
        self.progress = progress
        if self._on_progress is not None:
            self._on_progress(progress)

    def _keep_output(self) -> None:
        assert self._child.stdout is not None
        self._output.extend(self._child.stdout)


def exit_error(status: int, output: str) -> RunError:
    """Return what an exit status other than 0 means; `output` is the end of what it printed."""
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
    return RunError(f"training process {how}; output: {output}")
