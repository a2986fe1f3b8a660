"""The process that trains: `python -m jobs.training_process.child`, started by
`jobs.training_process.parent`.

It gets a panel on stdin and answers with a checkpoint on stdout; it never sees the database. Over
stderr it reports its progress and a heartbeat every few seconds, one JSON object a line. Its
stdin stays open for as long as the parent lives: when that ends, so does the child.
"""

import json
import os
import resource
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import torch

from forecaster.errors import ForecasterError
from forecaster.training.estimator import Progress
from jobs.retrain import fit_here
from jobs.training_process.protocol import OUT_OF_MEMORY, Head, pack, read_message, unpack_task

BEAT_SECONDS = 2.0

_NO_MEMORY = "can't allocate memory"
"""The message of torch when an allocation fails."""


def main() -> int:
    """Read a task, train, answer; 1 after a failure that was reported."""
    answers = _keep_stdout_for_the_answer()
    threading.Thread(target=_send_heartbeats, daemon=True).start()
    panel, spec, config = unpack_task(read_message(sys.stdin.buffer))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _yield_resources(config.memory_limit_gb)
    try:
        fitted = fit_here(panel, spec, config, watch=_report)
    except ForecasterError as error:
        raised = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        _send("raised", raised)
        return 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _NO_MEMORY not in str(error):
            raise
        return OUT_OF_MEMORY
    head = {name: value for name, value in asdict(fitted).items() if name != "checkpoint"}
    answers.write(pack(head, fitted.checkpoint))
    answers.flush()
    return 0


def _keep_stdout_for_the_answer() -> BinaryIO:
    # What a library prints must not end up inside the checkpoint.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _send_heartbeats() -> None:
    while True:
        _send("alive", {})
        time.sleep(BEAT_SECONDS)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not through sys.stdin, whose lock would hold up our exit
    os._exit(0)


def _report(progress: Progress | None) -> None:
    if progress is not None:
        _send("progress", asdict(progress))


def _yield_resources(memory_limit_gb: float | None) -> None:
    """Lower the priority of this process for the processor and for memory."""
    os.nice(10)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    torch.set_flush_denormal(True)
    with suppress(OSError):  # not on Linux, or already the first that the kernel would end
        Path("/proc/self/oom_score_adj").write_text("1000")
    if memory_limit_gb is not None:
        limit = int(memory_limit_gb * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _send(kind: str, content: Head) -> None:
    sys.stderr.write(json.dumps({kind: content}) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
