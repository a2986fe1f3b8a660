"""The first hour of a user: their own table, a short config, the commands of the README."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.tolerance import RELATIVE

pytestmark = pytest.mark.slow

FAST = "training = { steps = 60, batch_size = 32 }\n"


class User:
    """A person at a terminal in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}

    def configure(self, text: str) -> None:
        (self.directory / "forecaster.toml").write_text(text)

    def types(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "jobs", *words],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == status, f"{words}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def serves_for(self, seconds: float) -> str:
        log = self.directory / "serve.log"
        with log.open("w") as sink:
            server = subprocess.Popen(
                [sys.executable, "-m", "jobs", "serve"],
                cwd=self.directory,
                env=self.environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
            time.sleep(seconds)
            alive = server.poll() is None
            server.send_signal(signal.SIGTERM)
            status = server.wait(timeout=20)
        assert alive, log.read_text()
        assert status == 0, log.read_text()
        return log.read_text()


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def load(moment: datetime, phase: float) -> float:
    """A service's load: a daily wave with a faster one on it."""
    hours = moment.timestamp() / 3600
    return 50 + 20 * math.sin(math.tau * hours / 24 + phase) + 3 * math.sin(hours * 7.3 + phase)


def fill(url: str, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Make a table of the user's and copy rows into it."""
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE TABLE {table}".encode())
        name = table.split(" ", 1)[0]
        with connection.cursor().copy(f"COPY {name} FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)


def ask(url: str, question: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(question.encode()).fetchall()


SERVICES = ("api", "web/eu", 'naïve "q"')


@pytest.fixture
def newest() -> datetime:
    """The newest five-minute instant that is in, ten minutes late."""
    seconds = datetime.now(UTC).timestamp() // 300 * 300
    return datetime.fromtimestamp(seconds, UTC) - timedelta(minutes=10)


@pytest.fixture
def five_minute_user(user: User, postgres_url: str, free_tcp_port: int, newest: datetime) -> User:
    moments = [newest - timedelta(minutes=5 * back) for back in range(3000)]
    rows = (
        (service, moment, round(load(moment, number), 3))
        for number, service in enumerate(SERVICES)
        for moment in moments[number * 2 :]
    )
    fill(postgres_url, "load (service text, at timestamptz, cpu numeric)", rows)
    user.configure(
        f'database_url = "{postgres_url}"\n'
        f'server.listen = "127.0.0.1:{free_tcp_port}"\n'
        "[datasets.load]\n"
        'query = "SELECT service AS series_id, at AS timestamp, cpu AS value FROM load"\n'
        'step = "5m"\nhorizon = "2h"\ndelay = "15m"\nforecast_every = "5s"\n' + FAST
    )
    user.types("check", "--data")
    user.types("retrain")
    user.types("forecast")
    return user


def test_five_minute_data_with_text_keys_arriving_late_in_postgresql(
    five_minute_user: User, postgres_url: str
) -> None:
    rows = ask(
        postgres_url,
        "SELECT series_id, timestamp, step, cutoff, q025, q50, q975 FROM latest_forecasts",
    )
    shares = ask(
        postgres_url,
        "SELECT sum(weight) FROM forecast_attention GROUP BY series_id, cutoff, step_from",
    )

    assert {row[0] for row in rows} == set(SERVICES)
    assert len(rows) == 3 * 24
    assert all(row[1] == row[3] + row[2] * timedelta(minutes=5) for row in rows)
    assert all(row[4] <= row[5] <= row[6] for row in rows)
    assert all(abs(row[5] - 50) < 60 for row in rows)
    assert all(math.isclose(share, 1, rel_tol=RELATIVE) for (share,) in shares)


def test_serve_goes_on_where_the_commands_stopped(
    five_minute_user: User, postgres_url: str, newest: datetime
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO load VALUES ('api', %s, 55), ('new service', %s, 10)",
            (newest + timedelta(minutes=5), newest),
        )

    five_minute_user.serves_for(18)
    landed = ask(
        postgres_url,
        "SELECT count(*) FROM current_observations WHERE series_id = 'new service'",
    )
    states = dict(
        ask(postgres_url, "SELECT state, count(*) FROM runs WHERE job = 'forecast' GROUP BY 1")
    )

    assert landed == [(1,)]
    assert set(states) == {"succeeded"}
    assert states["succeeded"] >= 3
    assert json.loads(five_minute_user.types("status", "--json"))


def test_daily_data_in_a_local_zone_in_postgresql(user: User, postgres_url: str) -> None:
    zone = ZoneInfo("America/New_York")
    today = datetime.now(zone).date()
    days = [today - timedelta(days=back) for back in range(1, 900)]
    rows = (
        (shop, day, 100 + 40 * (day.weekday() < 5) + day.day)
        for shop in ("north", "south")
        for day in days
    )
    fill(postgres_url, "sales (shop text, day date, sold int)", rows)
    user.configure(
        f'database_url = "{postgres_url}"\n'
        "[datasets.sales]\n"
        'query = "SELECT shop AS series_id, day AS timestamp, sold AS value FROM sales"\n'
        'step = "1d"\nhorizon = "14d"\ntimezone = "America/New_York"\ndelay = "1d"\n' + FAST
    )

    user.types("check", "--data")
    user.types("retrain")
    user.types("forecast")
    found = ask(postgres_url, "SELECT series_id, timestamp FROM latest_forecasts ORDER BY 1, 2")

    assert len(found) == 2 * 14
    local = [timestamp.astimezone(zone) for _, timestamp in found[:14]]
    assert all((moment.hour, moment.minute) == (0, 0) for moment in local)
    assert {b - a for a, b in pairwise(moment.date() for moment in local)} == {timedelta(days=1)}


def test_hourly_data_in_sqlite(user: User, free_tcp_port: int) -> None:
    newest = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with closing(sqlite3.connect(user.directory / "warehouse.db")) as warehouse:
        warehouse.execute("CREATE TABLE trips (station TEXT, hour TEXT, rentals INTEGER)")
        moments = [newest - timedelta(hours=back) for back in range(2000)]
        rows = [
            (station, moment.strftime("%Y-%m-%d %H:%M:%S"), round(load(moment, 1)))
            for station in ("a", "b")
            for moment in moments
        ]
        warehouse.executemany("INSERT INTO trips VALUES (?, ?, ?)", rows)
        warehouse.commit()
    user.configure(
        'database_url = "sqlite:///forecaster.db"\n'
        f'server.listen = "127.0.0.1:{free_tcp_port}"\n'
        "[datasets.bikes]\n"
        'query = "SELECT station AS series_id, hour AS timestamp, rentals AS value FROM trips"\n'
        'source_url = "sqlite:///warehouse.db"\n'
        'step = "1h"\nhorizon = "2d"\ntimezone = "UTC"\n' + FAST
    )

    user.types("check", "--data")
    user.types("retrain")
    first = user.types("forecast", "--at", newest.isoformat())
    second = user.types("forecast", "--at", newest.isoformat())
    user.serves_for(12)
    with closing(sqlite3.connect(user.directory / "forecaster.db")) as database:
        found = database.execute("SELECT timestamp, q50 FROM latest_forecasts").fetchall()
        states = database.execute("SELECT DISTINCT state FROM runs").fetchall()

    assert "already done, nothing written" in second
    assert "already done" not in first
    assert len(found) == 2 * 48
    assert found[0][0].endswith(":00:00+00:00")
    assert states == [("succeeded",)]
