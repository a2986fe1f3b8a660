"""What becomes of a large file, and how much memory that takes."""

import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl
import torch

from forecaster.config.settings import DatasetConfig
from forecaster.schemas import INSTANT
from forecaster.store.connection.engine import open_engine
from jobs import ingest
from jobs.execution.reports import ForecastReport, IngestReport
from tests.jobs.small import HOUR, LAST, World, hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What became of a file and of the forecast after it."""

    ingested: IngestReport
    forecast: ForecastReport
    peak: int
    """Bytes of memory that the process had at the most, libraries included."""


def write(path: Path, *, series: int, rows: int, every: timedelta = HOUR) -> None:
    """Write series of equal length up to LAST, sorted by key and time."""
    instants = pl.datetime_range(
        hour(LAST) - (rows - 1) * every, hour(LAST), every, time_unit="us", eager=True
    )
    keys = pl.DataFrame({"number": range(series)}).select(
        series_id=pl.format("meter-{}", pl.col("number").cast(pl.String).str.zfill(6)),
        offset="number",
    )
    frame = keys.lazy().join(pl.LazyFrame({"timestamp": instants.cast(INSTANT)}), how="cross")
    wave = pl.col("offset") % 100 + pl.col("timestamp").dt.hour() + pl.col("timestamp").dt.minute()
    rows_of_all = frame.select("series_id", "timestamp", value=wave.cast(pl.Float64))
    rows_of_all.sink_parquet(path)


def bear(url: str, dataset: DatasetConfig, path: Path) -> Load:
    """Ingest the file and forecast."""
    torch.set_num_threads(1)
    engine = open_engine(url)
    ingested = ingest.run(engine, dataset, path, now=hour(LAST))
    report = World(engine=engine, dataset=dataset).tick("forecast", hour(LAST)).report
    assert isinstance(report, ForecastReport)
    engine.dispose()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Load(ingested=ingested, forecast=report, peak=peak)


def bear_alone(url: str, dataset: DatasetConfig, path: Path) -> Load:
    """Do so in a process that has done nothing before, so that the memory is that of the load."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        return pool.submit(bear, url, dataset, path).result()
