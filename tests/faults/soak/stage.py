"""What a soak plays on: a folder with a configuration, and a database that can be hurt."""

import random
import sqlite3
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psycopg
from sqlalchemy import Engine, text

from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.maintenance import migrations
from tests.postgres import Cluster, find_binaries

DATASETS = ("north", "south", "west")
SERIES = ("a", "b")
HORIZON = 12
HISTORY = 600
LEASE_SECONDS = 2
RETRAIN_SECONDS = 60
AHEAD = 1800
"""Seconds that the source knows beyond those of the soak."""

_HEAD = """database_url = "{url}"
server.listen = "127.0.0.1:0"
lease_ttl = "{lease}s"
"""
_DATASET = """[datasets.{name}]
query = "SELECT series_id, timestamp, value FROM source"
step = "1s"
prediction_length = {horizon}
forecast_every = "1s"
retrain_every = "{retrain}s"
history = "{history}s"
training = {{ steps = 20, batch_size = 8, naive_guard = false }}
model = {{ hidden_size = 8, layers = 1, heads = 2 }}
"""


class Postgres(AbstractContextManager["Postgres"]):
    """A server of our own that loses nothing when it crashes."""

    name = "postgresql"

    def __init__(self, _folder: Path) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise SystemExit("error: PostgreSQL server binaries must be installed, found none")
        self._cluster = Cluster(binaries, durable=True)
        self._cluster.start()
        self.url = self._cluster.create_database("soak")

    def __exit__(self, *_: object) -> None:
        self._cluster.remove()

    def crash(self) -> None:
        """Abort every session, as when the machine goes down."""
        self._cluster.stop("immediate")

    def recover(self) -> None:
        """Start the server after a crash."""
        self._cluster.start()

    def disturb(self, chance: random.Random) -> None:
        """Cut most sessions of the replicas."""
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'forecaster%%' AND random() < %s"
        )
        with suppress(psycopg.Error), psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement, (chance.uniform(0.3, 1.0),))


class Sqlite(AbstractContextManager["Sqlite"]):
    """A file; what crashes with it are only its users."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "forecaster.db"
        self.url = f"sqlite:///{self._file}"

    def __exit__(self, *_: object) -> None:
        """Leave the file to its folder."""

    def disturb(self, chance: random.Random) -> None:
        """Keep every writer waiting for a while."""
        with suppress(sqlite3.OperationalError):
            connection = sqlite3.connect(self._file, timeout=5, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(chance.uniform(0.5, 2.0))
            connection.execute("ROLLBACK")
            connection.close()


Store = Postgres | Sqlite


class Stage:
    """A database with tables and a source, and a configuration beside it."""

    def __init__(self, store: Store, folder: Path, seconds: int) -> None:
        self.store, self.folder = store, folder
        self.engine = open_engine(store.url, application_name="soak")
        migrations.upgrade(self.engine)
        _fill(self.engine, seconds)
        (folder / "forecaster.toml").write_text(_configuration(store.url, DATASETS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()


def _configuration(url: str, datasets: Iterable[str]) -> str:
    head = _HEAD.format(url=url, lease=LEASE_SECONDS)
    tables = (
        _DATASET.format(name=name, horizon=HORIZON, retrain=RETRAIN_SECONDS, history=HISTORY)
        for name in datasets
    )
    return "".join([head, *tables])


def _fill(engine: Engine, seconds: int) -> None:
    now = int(datetime.now(UTC).timestamp())
    rows = [
        {"series_id": series_id, "timestamp": second, "value": second % 20 + 0.5}
        for series_id in SERIES
        for second in range(now - 2 * HISTORY, now + seconds + AHEAD)
    ]
    with writing(engine) as conn:
        conn.execute(text("CREATE TABLE source (series_id TEXT, timestamp BIGINT, value REAL)"))
        conn.execute(text("INSERT INTO source VALUES (:series_id, :timestamp, :value)"), rows)
