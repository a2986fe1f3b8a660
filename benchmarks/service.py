"""What a service takes to start, and how late its forecasts are while another dataset is trained.

`python -m benchmarks.service [--seconds 60] [--store postgresql|sqlite]`

A real `forecaster serve` with two datasets: `load` has a forecast tick every second, `heavy` is
trained for as long as the measurement takes. Lateness is what the run rows say: from the tick to
the start of its run, and to its commit.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, text

from benchmarks import server
from benchmarks.tables import Row, Section, keep, table
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.maintenance import migrations

STEP = 1
HISTORY = 1800
SERIES = 2
HEAVY_SERIES = 60
PATIENCE = 120.0
STARTS = 5

_SETTINGS = """database_url = "{url}"
server.listen = "127.0.0.1:0"
[datasets.load]
query = "SELECT series_id, timestamp, value FROM source WHERE series_id < 'h'"
step = "1s"
prediction_length = 12
forecast_every = "1s"
retrain_every = "1d"
history = "30m"
training = {{ steps = 4, batch_size = 8, naive_guard = false }}
model = {{ hidden_size = 8, layers = 1, heads = 2 }}
{heavy}"""

_HEAVY = """[datasets.heavy]
query = "SELECT series_id, timestamp, value FROM source WHERE series_id >= 'h'"
step = "1s"
prediction_length = 48
forecast_every = "1h"
retrain_every = "1d"
history = "30m"
training = { steps = 1000000 }
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A database with a source that knows the next hour already, and a folder for settings."""

    engine: Engine
    url: str
    folder: Path

    def prepare(self) -> None:
        """Make the tables, fill the source and train the first model of `load`."""
        migrations.upgrade(self.engine)
        now = int(datetime.now(UTC).timestamp())
        names = [f"a{number}" for number in range(SERIES)]
        names += [f"h{number}" for number in range(HEAVY_SERIES)]
        with writing(self.engine) as conn:
            conn.execute(text("CREATE TABLE source (series_id TEXT, timestamp BIGINT, value REAL)"))
            conn.execute(
                text("INSERT INTO source VALUES (:series_id, :timestamp, :value)"),
                [
                    {"series_id": name, "timestamp": second, "value": second % 20 + 0.5}
                    for name in names
                    for second in range(now - HISTORY, now + 3600, STEP)
                ],
            )
        self.configure(heavy=False)
        self.run("retrain")

    def configure(self, *, heavy: bool) -> None:
        """Write the settings, with or without the dataset whose training never ends."""
        said = _SETTINGS.format(url=self.url, heavy=_HEAVY if heavy else "")
        (self.folder / "forecaster.toml").write_text(said, encoding="utf-8")

    def run(self, command: str) -> None:
        """Run a command to its end."""
        subprocess.run([sys.executable, "-m", "jobs", command], cwd=self.folder, check=True)

    @contextmanager
    def serving(self) -> Iterator[float]:
        """Run a service; the value is the instant of its start."""
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "jobs", "serve"], cwd=self.folder, stdout=log, stderr=log
            )
        try:
            yield time.time()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)

    def runs(self, since: float) -> Sequence[tuple[float, float]]:
        """Return lateness of start and commit in seconds, of ticks of `load` after `since`."""
        query = (
            "SELECT r.tick, r.started_at, r.finished_at FROM runs r "
            "JOIN datasets d ON d.id = r.dataset_id WHERE d.name = 'load' "
            "AND r.job = 'forecast' AND r.state = 'succeeded' ORDER BY r.tick"
        )
        with self.engine.connect() as conn:
            found = [[_seconds(value) for value in row] for row in conn.execute(text(query))]
        return [(begun - tick, done - tick) for tick, begun, done in found if tick > since]

    def first_commit(self, since: float) -> float:
        """Return the instant of the first forecast that was committed after `since`."""
        query = "SELECT min(finished_at) FROM runs WHERE job = 'forecast' AND finished_at > :since"
        bound = (
            datetime.fromtimestamp(since, UTC)
            if self.engine.dialect.name == "postgresql"
            else int(since * 1e6)
        )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with self.engine.connect() as conn:
                found = conn.scalar(text(query), {"since": bound})
            if found is not None:
                return _seconds(found)
            time.sleep(0.02)
        raise SystemExit(f"error: no forecast within {PATIENCE:g} s, see {self.folder}/log.txt")


def _seconds(instant: datetime | int) -> float:
    return instant.timestamp() if isinstance(instant, datetime) else instant / 1e6


def starts(place: Place) -> Row:
    """Return how long it takes from the start of the process to its first committed forecast."""
    found = []
    for _ in range(STARTS):
        with place.serving() as since:
            found.append(place.first_commit(since) - since)
    return {"what": "start to first tick, s", "median": float(np.median(found)), "most": max(found)}


def lateness(place: Place, seconds: float, *, heavy: bool) -> Sequence[Row]:
    """Return how late ticks start and are committed, with or without a training beside them."""
    place.configure(heavy=heavy)
    with place.serving() as since:
        first = place.first_commit(since)
        if heavy:
            _wait_for_training(place)
            first = time.time()
        time.sleep(seconds)
    found = np.array(place.runs(first + 1))
    beside = "beside a training" if heavy else "alone"
    return [
        {
            "what": f"{name}, {beside}, s",
            "ticks": len(found),
            "median": float(np.median(late)),
            "p99": float(np.quantile(late, 0.99)),
            "most": float(late.max()),
        }
        for name, late in (("tick to start", found[:, 0]), ("tick to commit", found[:, 1]))
    ]


def _wait_for_training(place: Place) -> None:
    until = time.monotonic() + PATIENCE
    query = "SELECT count(*) FROM runs WHERE job = 'retrain' AND state = 'running'"
    while time.monotonic() < until:
        with place.engine.connect() as conn:
            if conn.scalar(text(query)):
                time.sleep(5)  # the child starts, and gets to its first steps
                return
        time.sleep(0.1)
    raise SystemExit("error: the training did not start")


def measure(url: str, seconds: float) -> Sequence[Row]:
    """Return all figures of one store."""
    engine = open_engine(url)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(engine=engine, url=url, folder=Path(folder))
        place.prepare()
        rows = [starts(place)]
        for heavy in (False, True):
            rows += lateness(place, seconds, heavy=heavy)
    engine.dispose()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each measurement")
    parser.add_argument("--store", choices=["postgresql", "sqlite"], action="append")
    given = parser.parse_args()
    sections = []
    for store in given.store or ["postgresql", "sqlite"]:
        if store == "postgresql":
            with server.running() as cluster:
                rows = measure(cluster.create_database("service"), given.seconds)
        else:
            with tempfile.TemporaryDirectory() as folder:
                rows = measure(f"sqlite:///{folder}/forecaster.db", given.seconds)
        print(f"{store}\n\n{table(rows)}\n")
        about = "One replica; `load` has two series and a tick every second."
        sections.append(Section(name=store, about=about, tables=[rows]))
    keep("service", "A service beside a training", "python -m benchmarks.service", sections)


if __name__ == "__main__":
    main()
