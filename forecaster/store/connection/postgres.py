"""Connect to PostgreSQL: in UTC, with a timeout on every step, the liveness check included."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from forecaster.store.connection.watchdog import Remaining, watching

ACQUIRE_SECONDS = 10.0
"""Timeout of getting a connection: waiting for the pool, connecting, the liveness check."""
SHORTEST_CONNECT = 2
"""Seconds; psycopg takes less for this much."""
_PING_SECONDS = 2.0
_CONNECT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class _Acquiring:
    """What bounds the thread that is getting a connection just now."""

    remaining: Remaining
    watched: ExitStack


class _Thread(threading.local):
    acquiring: _Acquiring | None = None


_thread = _Thread()


def postgres_arguments(
    url: URL, options: dict[str, str], *, application_name: str | None = None
) -> dict[str, Any]:
    """Return psycopg's arguments: session `options` come after those of the address."""
    options_in_url = url.query.get("options", ())
    parts = [options_in_url] if isinstance(options_in_url, str) else [*options_in_url]
    parts += [f"-c {name}={value}" for name, value in options.items()]
    named = url.query.get("application_name", "forecaster")
    return {
        "options": " ".join(parts),
        "connect_timeout": int(str(url.query.get("connect_timeout", _CONNECT_SECONDS))),
        "application_name": application_name or named,
        "client_encoding": "utf8",
        "prepare_threshold": None,  # prepared statements do not survive a pooling proxy
    }


@contextmanager
def acquiring(remaining: Remaining) -> Iterator[None]:
    """Bound what it takes to get a connection inside this block, in this thread."""
    until = time.monotonic() + ACQUIRE_SECONDS
    with ExitStack() as watched:
        _thread.acquiring = _Acquiring(lambda: min(until - time.monotonic(), remaining()), watched)
        try:
            yield
        finally:
            _thread.acquiring = None


def bound_connections(engine: Engine) -> None:
    """Let every connection of `engine` be made, and be found alive or dead, in bounded time.

    SQLAlchemy's own `pool_pre_ping` blocks for ever when packets are dropped.
    """
    event.listen(engine, "do_connect", _limit_connect_timeout)
    event.listen(engine, "connect", _watch_connecting, insert=True)
    event.listen(engine, "checkout", _ping)


def _limit_connect_timeout(
    _dialect: object, _record: object, _args: object, parameters: dict[str, Any]
) -> None:
    if _thread.acquiring is not None:
        left = int(_thread.acquiring.remaining())
        most = int(parameters["connect_timeout"]) or left  # 0: no limit of its own
        parameters["connect_timeout"] = max(SHORTEST_CONNECT, min(most, left))


def _watch_connecting(driver: psycopg.Connection, _record: object) -> None:
    if _thread.acquiring is not None:
        bound = _thread.acquiring
        bound.watched.enter_context(watching(driver, bound.remaining))


def _ping(driver: psycopg.Connection, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Check a pooled connection before use; if it is dead, the whole pool is recreated."""
    if "used" not in record.info:
        record.info["used"] = True
        return
    until = time.monotonic() + _PING_SECONDS
    try:
        with watching(driver, lambda: until - time.monotonic()):
            _query(driver)
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def _query(driver: psycopg.Connection) -> None:
    driver.autocommit = True
    driver.execute("")
    driver.autocommit = False
