"""A PostgreSQL server of the benchmark's own, and what it can do at the most.

The limits are the server's own tools on the same query and the same rows: psql's binary COPY to
nowhere for reading, COPY FROM a file of the server for writing, with all indexes there are.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from tests.postgres import Cluster, find_binaries

SETTINGS = (
    "shared_buffers=1GB",
    "max_wal_size=16GB",
    "checkpoint_timeout=1h",
    "maintenance_work_mem=256MB",
    "effective_cache_size=8GB",
    "jit=off",
    "autovacuum=off",  # it would work in some runs and not in others
)
REPEATS = 3


@contextmanager
def running() -> Iterator[Cluster]:
    """Run a server that loses nothing when it crashes; it is removed afterwards."""
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("error: PostgreSQL server binaries must be installed, found none")
    cluster = Cluster(binaries, durable=True, settings=SETTINGS)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@contextmanager
def of_store(store: str) -> Iterator[Cluster | None]:
    """Run a server for `postgresql`; SQLite needs none."""
    if store == "sqlite":
        yield None
        return
    with running() as cluster:
        yield cluster


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def seconds(work: Callable[[], object], *, repeats: int = REPEATS) -> float:
    """Return the time of the fastest run."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def copy_out(url: str, query: str, *, repeats: int = REPEATS) -> float:
    """Return how long psql takes to read the rows of `query` in binary and throw them away."""
    address = urlsplit(url)
    environment = {
        **os.environ,
        "PGHOST": str(address.hostname),
        "PGPORT": str(address.port),
        "PGUSER": str(address.username),
        "PGDATABASE": address.path.removeprefix("/"),
    }
    command = ["psql", "--quiet", "--command", f"COPY ({query}) TO STDOUT (FORMAT binary)"]

    def read() -> None:
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)

    return seconds(read, repeats=repeats)


def copy_in(cluster: Cluster, url: str, table: str, query: str, *, repeats: int = REPEATS) -> float:
    """Return how long the server takes to load the rows of `query` into the emptied `table`."""
    path = cluster.folder / f"{table}.copy"
    execute(url, f"COPY ({query}) TO '{path}' (FORMAT binary)")
    found = []
    for _ in range(repeats):
        execute(url, f"TRUNCATE {table}", "CHECKPOINT")
        found.append(
            seconds(lambda: execute(url, f"COPY {table} FROM '{path}' (FORMAT binary)"), repeats=1)
        )
    path.unlink()
    return min(found)
