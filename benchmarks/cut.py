"""Two ways to cut a read that hangs behind a black hole, and what each costs when nothing hangs.

A worker process that is killed reads through ADBC; a connection of psycopg whose socket is shut
down reads within this process. psql's binary COPY of the same rows is the limit of both.
"""

import argparse
import io
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import polars as pl
import psycopg

from benchmarks.server import copy_out, execute, running
from benchmarks.tables import Row, Section, keep
from forecaster.config.settings import DatasetConfig
from forecaster.errors import DatabaseUnavailable
from forecaster.source.query import RowRange
from forecaster.source.read import read_rows
from forecaster.times.durations import Step
from forecaster.times.schedules import Every
from tests.faults.proxy import Proxy

DEADLINE = 1.0
HOUR = timedelta(hours=1)
SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
QUERY = "SELECT key AS series_id, ts AS timestamp, value FROM measured"
_AS_TEXT = {"series_id": pl.String(), "timestamp": pl.String(), "value": pl.Float64()}
PLACES = {"while connecting": 0, "before the first row": 2_000, "amid the rows": 5_000_000}
DATASET = DatasetConfig(
    name="measured",
    step=Step.parse("1h"),
    prediction_length=1,
    query=QUERY,
    forecast_schedule=Every(HOUR),
    retrain_schedule=Every(HOUR),
    history=HOUR,
    late_data=HOUR,
)

Read = Callable[[str, float], pl.DataFrame]


def by_worker(url: str, deadline: float) -> pl.DataFrame:
    """Read as the program does."""
    dataset = replace(DATASET, read_timeout=timedelta(seconds=deadline))
    return read_rows(dataset, url, RowRange(since=SINCE, until=UNTIL))


def by_socket(url: str, deadline: float) -> pl.DataFrame:
    """Read through psycopg, and shut its socket down at the deadline."""
    began = time.monotonic()
    with psycopg.connect(url, connect_timeout=max(2, round(deadline))) as conn:
        own = socket.socket(fileno=os.dup(conn.fileno()))
        watchdog = threading.Timer(
            deadline - (time.monotonic() - began), own.shutdown, [socket.SHUT_RDWR]
        )
        watchdog.start()
        try:
            return _copied(conn)
        finally:
            watchdog.cancel()
            own.close()


def _copied(conn: psycopg.Connection) -> pl.DataFrame:
    content = io.BytesIO()
    with conn.cursor() as cursor, cursor.copy(f"COPY ({QUERY}) TO STDOUT (FORMAT csv)") as copy:
        for piece in copy:
            content.write(piece)
    rows = pl.read_csv(content.getvalue(), has_header=False, schema=_AS_TEXT)
    return rows.with_columns(pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S%#z"))


WAYS: dict[str, Read] = {"worker killed": by_worker, "psycopg, socket shut down": by_socket}


def cuts(url: str, repeats: int) -> list[Row]:
    """Say how long after the deadline each way comes back, at worst."""
    rows: list[Row] = []
    for way, read in WAYS.items():
        for place, size in PLACES.items():
            late = max(overshoot(url, read, size) for _ in range(repeats))
            rows.append({"way": way, "black hole": place, "late by s, at worst": late})
    return rows


def overshoot(url: str, read: Read, swallow_after: int) -> float:
    """Return the seconds from the deadline until a read behind a black hole fails."""
    parts = urlsplit(url)
    with Proxy(parts.port or 0) as proxy:
        proxy.swallow_after = swallow_after
        behind = urlunsplit(parts._replace(netloc=f"forecaster@127.0.0.1:{proxy.port}"))
        began = time.monotonic()
        try:
            read(behind, DEADLINE)
        except (DatabaseUnavailable, psycopg.Error):
            return time.monotonic() - began - DEADLINE
    raise SystemExit("error: a read behind a black hole must fail, it did not")


def speeds(url: str, rows: int, repeats: int) -> list[Row]:
    """Say what each way costs when nothing hangs: the fastest of some reads, taken in turn."""
    limit = copy_out(url, QUERY, repeats=1)
    best = dict.fromkeys(WAYS, float("inf"))
    for _ in range(repeats):
        limit = min(limit, copy_out(url, QUERY, repeats=1))
        for way, read in WAYS.items():
            began = time.monotonic()
            assert read(url, 600.0).height == rows
            best[way] = min(best[way], time.monotonic() - began)
    found = [("psql, binary COPY to nowhere", limit), *best.items()]
    return [
        {"way": way, "rows": rows, "s": seconds, "M rows/s": rows / seconds / 1e6,
         "% of the limit": 100 * limit / seconds}
        for way, seconds in found
    ]  # fmt: skip


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows = arguments.series * 1_000
    with running() as cluster:
        url = cluster.create_database("measured")
        execute(
            url,
            "CREATE TABLE measured AS SELECT 'series-' || lpad(s::text, 5, '0') AS key, "
            "timestamptz '2026-01-01 00:00Z' + h * interval '1 hour' AS ts, random() AS value "
            f"FROM generate_series(1, {arguments.series}) AS s, generate_series(0, 999) AS h",
            "VACUUM ANALYZE measured",
        )
        about = f"A deadline of {DEADLINE:g} s; text key, timestamptz and float8."
        sections = [
            Section(name="cut", about=about, tables=[cuts(url, arguments.repeats)]),
            Section(
                name="speed", about="When nothing hangs.", tables=[
                    speeds(url, rows, arguments.repeats)
                ]
            ),
        ]  # fmt: skip
    keep(
        "cut",
        "Reads that are cut",
        f"python -m benchmarks.cut --series {arguments.series}",
        sections,
    )


if __name__ == "__main__":
    main()
