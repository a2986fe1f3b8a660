"""What a row of every table takes on disk, with its indexes, on both stores.

The rows are those of a day: a forecast of 48 steps every hour for each of many hourly series,
with its attention, and the accuracy of all of them; observations came in hour by hour.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from benchmarks.fleet import HOUR, Fleet
from benchmarks.server import execute, running, seconds
from benchmarks.tables import Row, Section, keep
from forecaster.config.settings import Config, RetentionConfig
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.maintenance import migrations, partitions
from forecaster.store.observations import observations
from jobs import catalog
from jobs.execution.runner import run_job
from jobs.retrain import fit_here
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache

TICKS = 24
CONTEXT = 336
HORIZON = timedelta(hours=48)
LARGE = ("observations", "forecasts", "attention", "accuracy")
PROJECTED_SERIES = 100_000
PER_DAY = {"observations": 24, "forecasts": 24, "attention": 24 * 2, "accuracy": 24 * 6}
"""Rows a day of one series."""


BLOCK_INDEX_BYTES = """
SELECT coalesce(sum(pg_relation_size(relid)), pg_relation_size('block_index'))
FROM pg_partition_tree('block_index')"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The room of one table."""

    rows: int
    table_bytes: int
    index_bytes: int

    @property
    def a_row(self) -> float:
        return (self.table_bytes + self.index_bytes) / max(1, self.rows)


def fill(engine: Engine, fleet: Fleet) -> None:
    """Forecast for a day, hour by hour, and score it all two days later."""
    migrations.upgrade(engine)
    fleet.settle(engine)
    dataset = replace(fleet.dataset, query=None)
    config = Config(database_url="", datasets={dataset.name: dataset})
    jobs = catalog.jobs(config, champions=Champions(), panels=PanelCache(), fit=fit_here)

    def run(name: str, at: datetime) -> None:
        outcome = run_job(
            jobs[name], engine, dataset, tick=at, clock=lambda: at, observe=lambda _: None
        )
        if outcome.error is not None:
            raise outcome.error

    for hour in range(TICKS + 50):
        at = fleet.end + hour * HOUR
        with writing(engine) as conn:
            frame = fleet.rows(fleet.names, fleet.context + hour, 1)
            observations.ingest(conn, dataset.name, frame, recorded_at=at)
        if hour < TICKS:
            run("forecast", at)
    run("score", at)


def in_postgres(conn: Connection, table: str) -> Taken:
    names = [part.name for part in partitions.read(conn, table)] or [table]
    heap, index = (
        sum(int(conn.scalar(sa.text(f"SELECT {size}(:name)"), {"name": name})) for name in names)
        for size in ("pg_table_size", "pg_indexes_size")
    )
    return Taken(rows=counted(conn, table), table_bytes=heap, index_bytes=index)


def in_sqlite(conn: Connection, table: str) -> Taken:
    size = conn.execute(
        sa.text("SELECT pgsize FROM dbstat WHERE aggregate = TRUE AND name = :name"),
        {"name": table},
    ).scalar_one()
    return Taken(rows=counted(conn, table), table_bytes=size, index_bytes=0)


def counted(conn: Connection, table: str) -> int:
    return int(conn.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def rows_of(store: str, found: dict[str, Taken]) -> Iterator[Row]:
    for table, taken in found.items():
        yield {
            "store": store,
            "table": table,
            "rows": taken.rows,
            "B a row": taken.a_row,
            "of it index": taken.index_bytes / max(1, taken.rows),
            f"GB a day of {PROJECTED_SERIES} series": (
                taken.a_row * PER_DAY[table] * PROJECTED_SERIES / 1e9
            ),
        }


def kept(found: dict[str, Taken], store: str) -> Iterator[Row]:
    """Say what default retention comes to; forecasts age from when they can be scored."""
    retention = RetentionConfig()
    total = 0.0
    for table, taken in found.items():
        age: timedelta | None = getattr(retention, table)
        if table == "observations":
            days = 365.0
        elif age is not None:
            days = (age + HORIZON + partitions.width(age)) / timedelta(days=1)
        size = taken.a_row * PER_DAY[table] * PROJECTED_SERIES * days / 1e9
        total += size
        yield {"store": store, "table": table, "days": days, "GB": size}
    yield {"store": store, "table": "all", "GB": total}


def brin(engine: Engine, url: str, fleet: Fleet) -> Iterator[Row]:
    """Ask for the rows of one cutoff and of one landing, without and with an index of blocks."""
    cutoff = fleet.end + TICKS // 2 * HOUR
    asked = {
        "forecasts": f"cutoff = '{cutoff.isoformat()}'",
        "observations": f"recorded_at > '{(fleet.end + (TICKS + 48) * HOUR).isoformat()}'",
    }
    for table, condition in asked.items():
        column = condition.split()[0]
        query = f"SELECT count(*), max({column}) FROM {table} WHERE {condition}"
        without = seconds(partial(execute, url, query))
        execute(url, f"CREATE INDEX block_index ON {table} USING brin ({column})")
        within = seconds(partial(execute, url, query))
        with reading(engine) as conn:
            kilobytes = int(conn.scalar(sa.text(BLOCK_INDEX_BYTES))) / 1000
        execute(url, "DROP INDEX block_index")
        yield {
            "table": table, "asked": condition, "s without": without, "s with": within,
            "index kB": kilobytes,
        }  # fmt: skip


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1_000)
    series = parser.parse_args().series
    fleet = Fleet(series=series, context=CONTEXT)
    with tempfile.TemporaryDirectory() as folder, running() as cluster:
        lite = open_engine(f"sqlite:///{Path(folder) / 'storage.db'}")
        fill(lite, fleet)
        with reading(lite) as conn:
            sqlite = {table: in_sqlite(conn, table) for table in LARGE}
        lite.dispose()
        url = cluster.create_database("storage")
        engine = open_engine(url)
        fill(engine, fleet)
        with reading(engine) as conn:
            postgres = {table: in_postgres(conn, table) for table in LARGE}
        execute(url, "VACUUM ANALYZE")
        blocks = list(brin(engine, url, fleet))
        engine.dispose()
    keep("storage", "Bytes on disk", f"python -m benchmarks.storage --series {series}", [
        Section(name="rows", about=__doc__.split("\n\n")[1].strip(), tables=[
            [*rows_of("postgresql", postgres), *rows_of("sqlite", sqlite)]
        ]),
        Section(
            name="kept",
            about=f"{PROJECTED_SERIES} such series, default retention; a year of observations.",
            tables=[list(kept(postgres, "postgresql")), list(kept(sqlite, "sqlite"))],
        ),
        Section(name="brin", about="An index of blocks, on PostgreSQL.", tables=[blocks]),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
