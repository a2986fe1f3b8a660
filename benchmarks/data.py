"""The series of the benchmarks, as OBSERVATIONS. `benchmarks/README.md` says where they are from.

`FORECASTER_DATA` names the folder of the data files (default: ../shared/data beside the
repository). They are read there and never copied; co2 comes with statsmodels.
"""

import hashlib
import os
from pathlib import Path

import polars as pl

from forecaster.schemas import INSTANT

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("FORECASTER_DATA", ROOT.parent / "shared" / "data"))


def path_of(name: str) -> Path:
    """Return where the file of a dataset should be."""
    return DATA / f"{name}.parquet"


def absent(name: str) -> str | None:
    """Return why a file cannot be read, or None where it can."""
    if path_of(name).exists():
        return None
    return f"{path_of(name)} not found; FORECASTER_DATA names the folder of the data files"


def sha256(name: str) -> str:
    """Return the checksum of the file of a dataset."""
    return hashlib.sha256(path_of(name).read_bytes()).hexdigest()


def shared(name: str, timezone: str = "UTC") -> pl.DataFrame:
    """Read a shared file; a local time that the clock change skips is dropped."""
    return (
        pl.read_parquet(path_of(name))
        .with_columns(
            pl.col("ts")
            .dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
            .cast(INSTANT)
            .alias("timestamp")
        )
        .select("series_id", "timestamp", "value")
        .drop_nulls("timestamp")
        .sort("series_id", "timestamp")
    )


def m4_hourly() -> pl.DataFrame:
    """Move the series, whose dates are made up, so that all end together: one cutoff for all."""
    end = pl.col("timestamp").max()
    return shared("m4_hourly").with_columns(
        (pl.col("timestamp") - end.over("series_id") + end).alias("timestamp")
    )


def nab_aws_cloudwatch() -> pl.DataFrame:
    """Move the series, recorded in different months, by whole days so that all end on one day."""
    end = pl.col("timestamp").max()
    late = (end - end.over("series_id")).dt.total_days()
    return shared("nab_aws_cloudwatch").with_columns(
        (pl.col("timestamp") + pl.duration(days=late)).alias("timestamp")
    )


def co2() -> pl.DataFrame:
    """Read the weekly record of Mauna Loa, 1958 to 2001, gaps included."""
    from statsmodels.datasets import co2 as record

    data = record.load_pandas().data["co2"]
    timestamps = pl.Series(data.index.to_numpy().astype("datetime64[us]"))
    values = pl.Series(data.to_numpy(), dtype=pl.Float64).fill_nan(None)
    timestamps = timestamps.dt.replace_time_zone("UTC")
    return pl.DataFrame({"series_id": "co2", "timestamp": timestamps, "value": values})
