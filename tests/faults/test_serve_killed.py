"""The service itself, killed with -9 again and again, loses, doubles and halves no tick."""

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from forecaster.store.connection.engine import writing

pytestmark = pytest.mark.slow

KILLS = 20
STEP = 2
"""Seconds from tick to tick: few, and yet a slow machine must not fall behind."""
HORIZON = 12
SERIES = ("a", "b")


class Served:
    """A service that is never idle for long, whose source knows the next hour already."""

    def __init__(self, engine: Engine, url: str, directory: Path) -> None:
        self.engine = engine
        self.directory = directory
        (directory / "forecaster.toml").write_text(
            f'database_url = "{url}"\n'
            'server.listen = "127.0.0.1:0"\n'
            "[datasets.load]\n"
            'query = "SELECT series_id, timestamp, value FROM source"\n'
            f'step = "{STEP}s"\nprediction_length = {HORIZON}\nforecast_every = "{STEP}s"\n'
            'retrain_every = "1d"\nhistory = "30m"\n'
            "training = { steps = 4, batch_size = 8, naive_guard = false }\n"
            "model = { hidden_size = 8, layers = 1, heads = 2 }\n"
        )

    def fill_source(self) -> None:
        now = int(datetime.now(UTC).timestamp()) // STEP * STEP
        with writing(self.engine) as conn:
            conn.execute(text("CREATE TABLE source (series_id TEXT, timestamp BIGINT, value REAL)"))
            conn.execute(
                text("INSERT INTO source VALUES (:series_id, :timestamp, :value)"),
                [
                    {"series_id": series_id, "timestamp": second, "value": second % 20 + 0.5}
                    for series_id in SERIES
                    for second in range(now - 1800, now + 3600, STEP)
                ],
            )

    def command(self, name: str) -> subprocess.Popen[bytes]:
        with (self.directory / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jobs", name], cwd=self.directory, stdout=log, stderr=log
            )

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(text(statement))]

    def succeeded(self) -> int:
        (count,) = self.rows(
            "SELECT count(*) FROM runs WHERE job = 'forecast' AND state = 'succeeded'"
        )[0]
        assert isinstance(count, int)
        return count

    def wait_for(self, ticks: int) -> None:
        """Wait until this many ticks more are written."""
        wanted = self.succeeded() + ticks
        deadline = time.monotonic() + 120
        while self.succeeded() < wanted:
            assert time.monotonic() < deadline, (self.directory / "log.txt").read_text()
            time.sleep(0.05)


@pytest.mark.fault(1)
def test_a_service_killed_twenty_times_has_every_tick_once_and_whole(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(20261120)
    service = Served(engine, database_url, tmp_path)
    service.fill_source()
    assert service.command("retrain").wait(timeout=120) == 0

    for _ in range(KILLS):
        process = service.command("serve")
        service.wait_for(ticks=1)
        time.sleep(chance.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = service.command("serve")
    service.wait_for(ticks=3)
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=20) == 0
    states = service.rows("SELECT DISTINCT state FROM runs WHERE job = 'forecast'")
    assert states == [("succeeded",)]
    require_every_tick(service, service.succeeded())


def require_every_tick(service: Served, ticks: int) -> None:
    """Assert that each tick was written, with all its rows, and none between two was left out."""
    found = {
        table: service.rows(f"SELECT cutoff, count(*) FROM {table} GROUP BY cutoff ORDER BY cutoff")
        for table in ("forecast_steps", "attention", "attention_patches")
    }
    assert len(found["forecast_steps"]) == ticks
    for counted in found.values():
        assert [cutoff for cutoff, _ in counted] == [
            cutoff for cutoff, _ in found["forecast_steps"]
        ]
        assert len({count for _, count in counted}) == 1
    assert found["forecast_steps"][0][1] == len(SERIES) * HORIZON
    (cutoffs,) = service.rows("SELECT min(cutoff), max(cutoff) FROM all_forecasts")
    first, last = (datetime.fromisoformat(str(cutoff)) for cutoff in cutoffs)
    assert (last - first) / timedelta(seconds=STEP) + 1 == ticks
