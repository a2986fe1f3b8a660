"""Read from a source in a child process that can be killed.

`python -m forecaster.source.worker_process`: a query comes as a line of JSON on stdin, its
answer goes to stdout: a line of JSON, then as many bytes of Arrow IPC as that line specifies. Stdin
stays open for as long as the parent lives: when it ends, so does the worker. It also ends when it
has been idle for a while.
"""

import io
import json
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

import polars as pl

from forecaster.errors import DataError, ForecasterError
from forecaster.source import postgres, privileges, query, rows, session
from forecaster.source.query import SourceQuery, select_rows
from forecaster.store.connection.errors import describe
from forecaster.store.connection.urls import parse_url

IDLE_SECONDS = 60.0
"""How long a worker waits for its next query."""
_ROWS_AT_ONCE = 1_000
_ROWS_IN_PART = 250_000
"""Rows that are sent at once: the parent takes one part in while the next is made."""


def read(request: SourceQuery) -> pl.DataFrame:
    """Return the rows: PostgreSQL through ADBC, other databases through SQLAlchemy.

    A high-water mark or shape is one cell of JSON.
    """
    with session.session(request) as conn:
        if request.look == "shape":
            return pl.DataFrame({"shape": [privileges.read_shape(conn, request).to_json()]})
        if request.look is not None:
            conn.execution_options(
                isolation_level="AUTOCOMMIT"
            )  # a new snapshot for each statement
            return pl.DataFrame({"state": [query.read_state(conn, request).to_json()]})
        statement = select_rows(conn, request)
        if (conn.dialect.name, conn.dialect.driver) == ("postgresql", "psycopg"):
            return postgres.fetch(conn, statement, request)
        result = conn.execution_options(stream_results=True).execute(statement)
        parts = result.partitions(_ROWS_AT_ONCE)
        return rows.gather(request.columns, parts, keys=len(request.series_columns))


def main() -> int:
    """Run the worker until it is idle for too long."""
    answers = _keep_stdout_for_answers()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        try:
            line = requests.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return 0
        _answer(SourceQuery.from_json(line.decode()), answers)


def _listen(requests: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)  # the parent is gone


def _answer(request: SourceQuery, answers: BinaryIO) -> None:
    # In case this process outlives its parent while a driver holds the interpreter.
    signal.setitimer(signal.ITIMER_REAL, 2 * request.seconds)
    try:
        frame = read(request)
    except BaseException as error:  # a panic of Rust is no Exception
        _write_header({"raised": _described(error, request)}, answers)
    else:
        for part in [frame.clear(), *frame.iter_slices(_ROWS_IN_PART)]:
            _send(part, answers)
        _write_header({"size": 0}, answers)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _send(part: pl.DataFrame, answers: BinaryIO) -> None:
    body = io.BytesIO()
    part.write_ipc_stream(body, compression="uncompressed")
    _write_header({"size": body.tell()}, answers)
    answers.write(body.getbuffer())
    answers.flush()


def _write_header(head: dict[str, Any], answers: BinaryIO) -> None:
    answers.write(json.dumps(head).encode() + b"\n")
    answers.flush()


def _described(error: BaseException, request: SourceQuery) -> dict[str, str | None]:
    if not isinstance(error, ForecasterError):
        reason = describe(error, parse_url(request.url))
        error = DataError(
            f"cannot read the rows of dataset {request.dataset}: {type(error).__name__}: {reason}",
            hint=f"cast the columns of query in [datasets.{request.dataset}] to standard SQL types",
        )
    return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}


def _keep_stdout_for_answers() -> BinaryIO:
    # Keep what libraries print out of the rows.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    sys.exit(main())
