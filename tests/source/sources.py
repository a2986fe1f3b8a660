"""Tables of a user's own, in SQLite and PostgreSQL, and how a dataset reads them."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, make_url

from forecaster.config.settings import DatasetConfig
from forecaster.source.query import RowRange
from forecaster.source.read import read_rows
from forecaster.times.durations import Step
from forecaster.times.schedules import Every

DAY = datetime(2026, 11, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
SINCE, UNTIL = DAY + 6 * HOUR, DAY + 12 * HOUR
QUERY = "SELECT key AS series_id, ts AS timestamp, value FROM measured"


def dataset(query: str | None = QUERY, **settings: Any) -> DatasetConfig:
    return DatasetConfig(
        name="bikes",
        step=Step.parse("1h"),
        prediction_length=2,
        query=query,
        forecast_schedule=Every(HOUR),
        retrain_schedule=Every(24 * HOUR),
        history=240 * HOUR,
        late_data=2 * HOUR,
        **settings,
    )


def hours(count: int = 96) -> list[datetime]:
    """Every hour from two days before DAY on."""
    return [DAY + (hour - 48) * HOUR for hour in range(count)]


def fill(url: str, rows: Sequence[Sequence[Any]]) -> None:
    conn = sqlite3.connect(make_url(url).database or "")
    conn.executemany("INSERT INTO measured VALUES (?, ?, ?)", rows)
    conn.commit()
    conn.close()


def fill_postgres(url: str, kind: str, rows: Sequence[Sequence[Any]]) -> None:
    with psycopg.connect(url) as conn, conn.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TABLE measured (key text, ts {}, value numeric)").format(sql.SQL(kind))
        )
        cursor.executemany("INSERT INTO measured VALUES (%s, %s, %s)", rows)


def read(url: str, given: DatasetConfig | None = None) -> pl.DataFrame:
    return read_rows(given or dataset(), url, RowRange(since=SINCE, until=UNTIL))


@pytest.fixture
def sqlite_source(tmp_path: Path) -> str:
    """A SQLite file with an empty table `measured` of whatever types."""
    path = tmp_path / "odd #%20?name.db"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE measured (key, ts, value)")
    conn.close()
    return URL.create("sqlite", database=str(path)).render_as_string()
