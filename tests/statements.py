"""Counts what a database is asked, as the driver sends it.

Everything counts: BEGIN, COMMIT, ROLLBACK, SET and PRAGMA too, and on PostgreSQL the empty
statement that asks whether a connection is alive. On SQLite it is what the library traces, on
PostgreSQL the messages of the protocol that have a statement run (Query and Execute).
"""

import os
import re
import sqlite3
import tempfile
from typing import Any, Self

import psycopg
from sqlalchemy import Engine, event

_RUN = re.compile(rb"\tF\t\d+\t(?:Query|Execute)\b")


class Statements:
    """What the connections of some engines run from now on; those open before are closed."""

    def __init__(self, *engines: Engine) -> None:
        self.said: list[str] = []
        self._traces: list[Any] = []
        self._engines = engines
        for engine in engines:
            engine.dispose()
            event.listen(engine, "connect", self._watch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            event.remove(engine, "connect", self._watch)
            engine.dispose()
        for trace in self._traces:
            trace.close()

    def _watch(self, driver: object, _record: object) -> None:
        if isinstance(driver, sqlite3.Connection):
            driver.set_trace_callback(self.said.append)
            return
        assert isinstance(driver, psycopg.Connection)
        trace = tempfile.TemporaryFile()  # noqa: SIM115  # for as long as the test
        driver.pgconn.trace(trace.fileno())
        self._traces.append(trace)

    def count(self) -> int:
        """Return how many statements were run so far."""
        return len(self.said) + sum(len(_RUN.findall(_content(each))) for each in self._traces)


def _content(trace: Any) -> bytes:
    return os.pread(trace.fileno(), os.fstat(trace.fileno()).st_size, 0)
