"""Train in a child process that can be killed: `python -m jobs.trainer`.

The child gets a panel on stdin and answers with a checkpoint on stdout; it never sees the
database. Progress goes over stderr, one JSON object a line. Its stdin stays open for as long as
the parent lives: when that ends, so does the child.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from time import monotonic
from typing import Any, BinaryIO

import torch
from safetensors.torch import load, save

from forecaster import errors
from forecaster.config import TrainingConfig
from forecaster.durations import Step
from forecaster.errors import ForecasterError, RunError, StageTimedOut
from forecaster.model.spec import ModelSpec
from forecaster.series.grid import Grid
from forecaster.series.panel import Panel, PanelCounts
from forecaster.training import Progress
from jobs.retrain import Fitted, OnProgress, fit_here

Head = dict[str, Any]
"""The JSON object in front of the bytes of a message."""

_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PREFIXES = ("LC_", "PYTHON", "OMP_", "MKL_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_")
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_TAIL = 20
"""Lines of stderr that are kept to explain a crash."""
_POLL_SECONDS = 0.1
_LENGTH = 8
"""Bytes of each length in front of a message: that of its head, then that of its body."""


def fit_in_child(
    panel: Panel,
    spec: ModelSpec,
    config: TrainingConfig,
    *,
    on_progress: OnProgress | None = None,
    deadline: timedelta | None = None,
    stop: threading.Event | None = None,
) -> Fitted:
    """Train in a child process and return its checkpoint.

    Raises what the child raised; StageTimedOut past `deadline`; RunError when the child is
    killed, crashes, or `stop` is set. The child is gone when this returns.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.trainer"],  # no module of the current directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(os.environ),
        start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
    )
    talk = _Talk(child, pack_task(panel, spec, config), on_progress)
    try:
        _wait(child, deadline, stop or threading.Event())
    finally:
        child.kill()
        child.wait()
        talk.end()
    return talk.result()


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may see: enough to run, no secrets; its threads wait without spinning."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _ENVIRONMENT or name.startswith(_PREFIXES)
    }
    return {**kept, "OMP_WAIT_POLICY": "PASSIVE"}


def _wait(
    child: subprocess.Popen[bytes], deadline: timedelta | None, stop: threading.Event
) -> None:
    started = monotonic()
    while child.poll() is None:
        if stop.wait(_POLL_SECONDS):
            raise RunError("training was stopped", hint="it runs again at the next start")
        if deadline is not None and monotonic() - started > deadline.total_seconds():
            raise StageTimedOut(
                f"training must end within {deadline}, and was killed",
                hint="set fewer `steps` under [datasets.NAME.training] or a shorter `history`",
            )


class _Talk:
    """The three pipes of a child, each served by a thread so that none can block another."""

    def __init__(
        self, child: subprocess.Popen[bytes], task: bytes, on_progress: OnProgress | None
    ) -> None:
        self._child = child
        self._task = task
        self._on_progress = on_progress
        self._answer = b""
        self._raised: Head | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._threads = [
            threading.Thread(target=serve, daemon=True)
            for serve in (self._feed, self._collect, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Close the pipes of a child that has ended."""
        for thread in self._threads:
            thread.join()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            assert pipe is not None
            pipe.close()

    def result(self) -> Fitted:
        """Return the answer, or raise what kept the child from giving one."""
        if self._raised is not None:
            raise rebuild(self._raised)
        if self._child.returncode in _KILLED:
            raise RunError(
                "the training process must run to its end, found it killed: out of memory?",
                hint="give the machine more memory, or set a shorter `history`",
            )
        if self._child.returncode != 0:
            said = "\n".join(self._tail) or "nothing"
            raise RunError(
                f"the training process must run to its end, found exit status "
                f"{self._child.returncode}; it said: {said}"
            )
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
            said = _said(text)
            if "progress" in said and self._on_progress is not None:
                self._on_progress(Progress(**said["progress"]))
            elif "raised" in said:
                self._raised = said["raised"]
            elif not said:
                self._tail.append(text)


def _said(text: str) -> Head:
    if not text.startswith("{"):
        return {}
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def rebuild(raised: Head) -> ForecasterError:
    """Return the failure that a child reported."""
    kind = getattr(errors, raised["kind"], RunError)
    error: ForecasterError = kind(raised["message"], hint=raised["hint"])
    return error


def pack(head: Head, body: bytes) -> bytes:
    """Return one message: two lengths, a JSON object, bytes."""
    text = json.dumps(head).encode()
    lengths = len(text).to_bytes(_LENGTH, "big") + len(body).to_bytes(_LENGTH, "big")
    return lengths + text + body


def unpack(message: bytes) -> tuple[Head, bytes]:
    """Undo `pack`."""
    body_at = 2 * _LENGTH + int.from_bytes(message[:_LENGTH], "big")
    return json.loads(message[2 * _LENGTH : body_at]), message[body_at:]


def read_message(stream: BinaryIO) -> bytes:
    """Read one message from a stream that stays open after it; EOFError if it ends within."""
    lengths = _read_exactly(stream, 2 * _LENGTH)
    rest = sum(int.from_bytes(lengths[at : at + _LENGTH], "big") for at in (0, _LENGTH))
    return lengths + _read_exactly(stream, rest)


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError(f"the parent must send {size} bytes, found {len(found)}")
    return found


def pack_task(panel: Panel, spec: ModelSpec, config: TrainingConfig) -> bytes:
    """Return what a child needs, as one message."""
    grid = panel.grid
    head = {
        "grid": {"step": str(grid.step), "anchor": grid.anchor, "timezone": grid.timezone},
        "series_ids": panel.series_ids,
        "start": panel.start,
        "counts": asdict(panel.counts),
        "spec": spec.to_json(),
        "config": asdict(config),
    }
    tensors = {
        "deviations": panel.deviations.contiguous(),
        "offset": panel.offset.contiguous(),
        "scale": panel.scale.contiguous(),
    }
    return pack(head, save(tensors))


def unpack_task(message: bytes) -> tuple[Panel, ModelSpec, TrainingConfig]:
    """Undo `pack_task`."""
    head, body = unpack(message)
    step = Step.parse(head["grid"].pop("step"))
    panel = Panel(
        grid=Grid(step=step, **head["grid"]),
        series_ids=tuple(head["series_ids"]),
        start=head["start"],
        counts=PanelCounts(**head["counts"]),
        **load(body),
    )
    return panel, ModelSpec.from_json(head["spec"]), TrainingConfig(**head["config"])


def main() -> int:
    """Be the child: read a task, train, answer; 1 after a failure that was reported."""
    answers = _keep_stdout_for_the_answer()
    task = unpack_task(read_message(sys.stdin.buffer))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _be_quiet()
    try:
        fitted = fit_here(*task, on_progress=lambda made: _say("progress", asdict(made)))
    except ForecasterError as error:
        _say(
            "raised",
            {"kind": type(error).__name__, "message": error.message, "hint": error.hint},
        )
        return 1
    head = {name: value for name, value in asdict(fitted).items() if name != "checkpoint"}
    answers.write(pack(head, fitted.checkpoint))
    answers.flush()
    return 0


def _keep_stdout_for_the_answer() -> BinaryIO:
    # What a library prints must not end up inside the checkpoint.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not through sys.stdin, whose lock would hold up our exit
    os._exit(0)


def _be_quiet() -> None:
    os.nice(10)  # a forecast in the parent goes first
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    torch.set_flush_denormal(True)


def _say(kind: str, content: Head) -> None:
    sys.stderr.write(json.dumps({kind: content}) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
