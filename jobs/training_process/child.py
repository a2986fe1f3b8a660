"""The process that trains: `python -m jobs.training_process.child`, started by
`jobs.training_process.parent`.

Its stdin is one end of a `multiprocessing.Pipe`. Over it, it gets a panel and sends its progress, a
heartbeat every few seconds and in the end a checkpoint; it never sees the database. When the other
end closes, as it does when the parent dies, so does the child.
"""

import os
import resource
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from forecaster import errors
from forecaster.config.settings import TrainingConfig
from forecaster.errors import ForecasterError
from forecaster.training.estimator import Progress
from jobs.retrain import fit_here
from jobs.training_process.protocol import OUT_OF_MEMORY, Head, receive, send, unpack_task

BEAT_SECONDS = 2.0

_NO_MEMORY = "can't allocate memory"
"""The message of torch when an allocation fails."""


def main() -> int:
    """Read a task, train, answer; 1 after a failure that was reported."""
    connection = Connection(sys.stdin.fileno())
    parent = _Parent(connection)
    threading.Thread(target=parent.send_heartbeats, daemon=True).start()
    panel, spec, config = unpack_task(*receive(connection))
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    _yield_resources(config)
    try:
        fitted = fit_here(panel, spec, config, watch=parent.report)
    except ForecasterError as error:
        parent.send({"raised": errors.to_json(error)})
        return 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _NO_MEMORY not in str(error):
            raise
        return OUT_OF_MEMORY
    head = {name: value for name, value in asdict(fitted).items() if name != "checkpoint"}
    parent.send({"fitted": head}, fitted.checkpoint)
    return 0


class _Parent:
    """Sends messages from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, head: Head, body: bytes = b"") -> None:
        with self._lock:
            send(self._connection, head, body)

    def send_heartbeats(self) -> None:
        while True:
            self.send({})
            time.sleep(BEAT_SECONDS)

    def report(self, progress: Progress | None) -> None:
        if progress is not None:
            self.send({"progress": asdict(progress)})


def _end_with_parent(connection: Connection) -> None:
    with suppress(EOFError, OSError):
        connection.recv_bytes()
    os._exit(0)


def _yield_resources(config: TrainingConfig) -> None:
    """Lower the priority of this process for the processor and for memory."""
    os.nice(10)
    torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    with suppress(OSError):  # not on Linux, or already the first that the kernel would end
        Path("/proc/self/oom_score_adj").write_text("1000")
    if config.memory_limit_gb is not None:
        limit = int(config.memory_limit_gb * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
