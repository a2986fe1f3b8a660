import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine

from forecaster.config.settings import RetentionConfig
from forecaster.store.maintenance import partitions
from tests.store.samples import START


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """An engine on a database that has room for forecasts of the week of START."""
    cutoffs = [START + timedelta(days=day) for day in range(-1, 2)]
    partitions.ensure(engine, RetentionConfig(), partitions.PARTITIONED, cutoffs)
    return engine


@pytest.fixture
def sqlite_source(tmp_path: Path) -> str:
    """A SQLite file with an empty table `measured` of whatever types."""
    path = tmp_path / "odd #%20?name.db"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE measured (key, ts, value)")
    conn.close()
    return URL.create("sqlite", database=str(path)).render_as_string()
