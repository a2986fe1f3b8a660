"""Two whole ticks of a fleet in a process of their own: one after a start, one in service.

    python -m benchmarks.big_tick URL --series 100000 --context 336

`benchmarks.data_plane` runs it; the answer is one line of JSON on stdout.
"""

import argparse
import json
import os
import resource
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program does, before torch

import polars as pl
import psycopg
import torch
from sqlalchemy import Engine, make_url

from benchmarks.fleet import HOUR, Fleet
from forecaster.config.settings import RetentionConfig
from forecaster.inference.device import LARGEST_BATCH
from forecaster.network.calendar_features import calendar_features
from forecaster.network.network import AttentionLSTM
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.state import runs
from jobs import forecast
from jobs.execution.attempt import Attempt
from jobs.execution.reports import ForecastReport
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache
from jobs.terminal.cpu_settings import flush_denormals

TICKS = ("after a start", "in service")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--context", type=int, default=336)
    parser.add_argument("--points", type=int, default=1, help="new points of each series")
    chosen = parser.parse_args()
    flush_denormals()
    fleet = Fleet(series=chosen.series, context=chosen.context)
    print(json.dumps(measure(chosen.url, fleet, chosen.points)))


def measure(url: str, fleet: Fleet, points: int) -> dict[str, Any]:
    """Run the ticks, and time the forward pass alone on as many windows."""
    engine, champions, panels = open_engine(url), Champions(), PanelCache()
    ticks = []
    for number, name in enumerate(TICKS):
        first = fleet.context + number * points
        append(url, fleet.rows(fleet.names, first, points))
        report, seconds = tick(engine, fleet, first + points - 1, champions, panels)
        stages = {f"{stage} s": found for stage, found in report.stages.items()}
        ticks.append({"tick": name, "s": seconds, **stages, "rows": report.rows})
    megabytes = peak(resource.RUSAGE_SELF)
    return {
        "ticks": ticks,
        "rss MB": megabytes,
        "worker rss MB": peak(resource.RUSAGE_CHILDREN),
        "forward pass s": forward(fleet),
        "cutoff": str(fleet.end + (2 * points - 1) * HOUR),
    }


def append(url: str, frame: pl.DataFrame) -> None:
    """Write rows into the source, as whoever measures would."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(make_url(url).database))) as source, source:
            text = frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S+00:00"))
            source.executemany("INSERT INTO metrics VALUES (?, ?, ?)", text.iter_rows())
        return
    into = "COPY metrics FROM STDIN (FORMAT csv)"
    with psycopg.connect(url) as server, server.cursor() as cursor, cursor.copy(into) as copy:
        copy.write(frame.write_csv(include_header=False))


def tick(
    engine: Engine, fleet: Fleet, hour: int, champions: Champions, panels: PanelCache
) -> tuple[ForecastReport, float]:
    """Forecast as the service does, two seconds after the hour."""
    at = fleet.end + (hour - fleet.context) * HOUR
    started = time.perf_counter()
    with writing(engine) as conn:
        claim = runs.claim(conn, "forecast", fleet.dataset.name, at, at)

    def clock() -> datetime:
        return at + timedelta(seconds=2)

    report = forecast.run(
        engine,
        fleet.dataset,
        Attempt(tick=at, claim=claim, clock=clock),
        champions=champions,
        panels=panels,
        retention=RetentionConfig(),
    )
    return report, time.perf_counter() - started


def forward(fleet: Fleet) -> float:
    """Return how long the network alone takes, in batches as in service."""
    network = AttentionLSTM(fleet.spec).eval()
    contexts = torch.randn(min(fleet.series, 8192), fleet.context).split(LARGEST_BATCH)
    calendar = calendar_features(fleet.spec, torch.tensor([fleet.context]))
    rounds = max(1, fleet.series // 8192)
    with torch.inference_mode():
        network(contexts[0], None, calendar)
        started = time.perf_counter()
        for _ in range(rounds):
            for context in contexts:
                network(context, None, calendar)
    took = time.perf_counter() - started
    return took * fleet.series / (rounds * sum(map(len, contexts)))


def peak(who: int) -> float:
    """Return the most memory ever used, in MB."""
    return resource.getrusage(who).ru_maxrss / 1024


def stages(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the stages, in their order."""
    return [name for name in found[0] if name not in {"tick", "s", "rows"}]


if __name__ == "__main__":
    main()
