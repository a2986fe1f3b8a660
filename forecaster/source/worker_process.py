"""Read from a source in a child process that can be killed.

`python -m forecaster.source.worker_process`, with one end of a `multiprocessing.Pipe` as its stdin.
A query comes as JSON; its answer is Arrow IPC in parts, an empty message, and the error as JSON or
another empty message, all of them bytes. The worker ends when the other end closes, as it does
when the parent dies, and when it has been idle for a while.
"""

import io
import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import polars as pl

from forecaster import errors
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
    parent = Connection(sys.stdin.fileno())
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(parent, requests), daemon=True).start()
    while True:
        try:
            line = requests.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return 0
        _answer(SourceQuery.from_json(line.decode()), parent)


def _listen(parent: Connection, requests: "queue.SimpleQueue[bytes]") -> None:
    with suppress(EOFError, OSError):
        while True:
            requests.put(parent.recv_bytes())
    os._exit(0)  # the parent is gone


def _answer(request: SourceQuery, parent: Connection) -> None:
    # In case this process outlives its parent while a driver holds the interpreter.
    signal.setitimer(signal.ITIMER_REAL, 2 * request.seconds)
    raised = b""
    try:
        frame = read(request)
    except BaseException as error:  # a panic of Rust is no Exception
        raised = json.dumps(_described(error, request)).encode()
    else:
        for part in [frame.clear(), *frame.iter_slices(_ROWS_IN_PART)]:
            _send(part, parent)
    parent.send_bytes(b"")
    parent.send_bytes(raised)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _send(part: pl.DataFrame, parent: Connection) -> None:
    body = io.BytesIO()
    part.write_ipc_stream(body, compression="uncompressed")
    parent.send_bytes(body.getbuffer())


def _described(error: BaseException, request: SourceQuery) -> dict[str, Any]:
    if not isinstance(error, ForecasterError):
        reason = describe(error, parse_url(request.url))
        error = DataError(
            f"cannot read the rows of dataset {request.dataset}: {type(error).__name__}: {reason}",
            hint=f"cast the columns of query in [datasets.{request.dataset}] to standard SQL types",
        )
    return errors.to_json(error)


if __name__ == "__main__":
    sys.exit(main())
