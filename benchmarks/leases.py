"""What a lease costs: renewing, taking over, and claiming ticks under it, on both stores.

Every commit is on disk. The table of runs is as large as that of ten datasets after a year of
hourly ticks, the table of leases as that of ten datasets and three replicas.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, insert

from benchmarks.server import running
from benchmarks.tables import Row, Section, keep
from forecaster.store import tables
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.connection.limits import Fence, Limit, guarded
from forecaster.store.maintenance import migrations
from forecaster.store.state import datasets, leases, runs

GOAL_MS = 5.0
TTL = timedelta(seconds=15)
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DATASETS = [f"dataset {number}" for number in range(10)]
REPLICAS = ["us", "them", "others"]
HOURS = 24 * 365
STAGE = timedelta(seconds=10)


@contextmanager
def sqlite() -> Iterator[Engine]:
    """Open a database in a file that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'leases.db'}")
        yield engine
        engine.dispose()


@contextmanager
def postgresql() -> Iterator[Engine]:
    """Open a database of a server that is removed afterwards."""
    with running() as cluster:
        engine = open_engine(cluster.create_database("leases"))
        yield engine
        engine.dispose()


def fill(engine: Engine) -> None:
    """Make what a service has after a year; all datasets belong to `us`."""
    migrations.upgrade(engine)
    with writing(engine) as conn:
        for name in DATASETS:
            owner = datasets.dataset_id(conn, name)
            conn.execute(
                insert(tables.runs),
                [
                    {"job": "forecast", "dataset_id": owner, "tick": START + hour * HOUR,
                     "state": "succeeded", "attempt": 1, "token": 1}
                    for hour in range(HOURS)
                ],
            )  # fmt: skip
            leases.acquire(conn, leases.of_dataset(name), "us", TTL)
        for name in REPLICAS:
            leases.acquire(conn, leases.of_member(name), name, TTL)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.exec_driver_sql("VACUUM ANALYZE")


def works(engine: Engine) -> dict[str, Callable[[int], object]]:
    """Return what is measured, each as one call with the number of the repetition."""
    lease = leases.of_dataset(DATASETS[0])
    limit = Limit()
    fence = Fence(name=leases.of_dataset(DATASETS[1]), holder="us", token=2)
    bounded = guarded(engine, limit=limit)
    fenced = guarded(bounded, fence=fence)

    def renew(_: int) -> None:
        with limit.stage("lease", STAGE), writing(bounded) as conn:
            assert len(leases.renew(conn, "us", TTL)) == len(DATASETS) + 1

    def look(_: int) -> None:
        with limit.stage("lease", STAGE), reading(bounded) as conn:
            leases.read_all(conn)

    def take_over(number: int) -> None:
        with limit.stage("lease", STAGE), writing(bounded) as conn:
            holder = REPLICAS[1 + number % 2]
            found = leases.read_all(conn).leases[lease]
            assert leases.acquire(conn, lease, holder, TTL, over=found) is not None

    def claim(number: int) -> None:
        tick = START + (HOURS + number) * HOUR
        with limit.stage("claim", STAGE), writing(fenced) as conn:
            runs.claim(conn, "forecast", DATASETS[1], tick, tick, fence.token)

    return {
        "renew ten leases and the membership": renew,
        "look at all leases": look,
        "take one over": take_over,
        "claim a tick under a lease": claim,
    }


def measure(engine: Engine, repeats: int) -> list[Row]:
    """Time every work, in milliseconds."""
    fill(engine)
    rows: list[Row] = []
    for name, work in works(engine).items():
        found = []
        for number in range(-repeats // 10, repeats):  # the first ones warm up
            began = time.perf_counter()
            work(number + repeats)
            found.append(1000 * (time.perf_counter() - began))
        measured = found[-repeats:]
        median, last = statistics.median(measured), statistics.quantiles(measured, n=100)[98]
        rows.append(
            {"work": name, "median ms": median, "p99 ms": last, "max ms": max(measured),
             "goal ms": GOAL_MS, "met": "yes" if median <= GOAL_MS else "no"}
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1_000)
    arguments = parser.parse_args()
    sections = []
    for name, opened in {"PostgreSQL": postgresql, "SQLite": sqlite}.items():
        with opened() as engine:
            about = f"{name} on this machine; {arguments.repeats} times each, in one thread."
            sections.append(
                Section(name=name, about=about, tables=[measure(engine, arguments.repeats)])
            )
    keep(
        "leases",
        "Leases and claims",
        f"python -m benchmarks.leases --repeats {arguments.repeats}",
        sections,
    )


if __name__ == "__main__":
    main()
