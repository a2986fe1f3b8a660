"""The first hour of a user: their own table, a short config, the commands of the README, no demo."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

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
    """A service's load: a daily wave with a weekly dent."""
    hours = moment.timestamp() / 3600
    return 50 + 20 * math.sin(math.tau * hours / 24 + phase) + 3 * math.sin(hours * 7.3 + phase)


def test_five_minute_data_with_text_keys_arriving_late_in_postgresql(
    user: User, postgres_url: str, free_tcp_port: int
) -> None:
    now = datetime.now(UTC)
    newest = datetime.fromtimestamp(now.timestamp() // 300 * 300, UTC) - timedelta(minutes=10)
    moments = [newest - timedelta(minutes=5 * back) for back in range(3000)]
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE load (service text, at timestamptz, cpu numeric)")
        with connection.cursor().copy("COPY load FROM STDIN") as copy:
            for number, service in enumerate(("api", "web/eu", 'naïve "q"')):
                for moment in moments[number * 2 :]:
                    copy.write_row((service, moment, round(load(moment, number), 3)))
    user.configure(
        f'database_url = "{postgres_url}"\n'
        f'server.listen = "127.0.0.1:{free_tcp_port}"\n'
        "[datasets.load]\n"
        'query = "SELECT service AS series_id, at AS timestamp, cpu AS value FROM load"\n'
        'step = "5m"\nhorizon = "2h"\ndelay = "15m"\nforecast_every = "5s"\n' + FAST
    )

    assert "load" in user.types("check")
    user.types("retrain")
    said = user.types("forecast")
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT series_id, timestamp, step, cutoff, q025, q50, q975 FROM latest_forecasts"
        ).fetchall()
        shares = connection.execute(
            "SELECT series_id, cutoff, step_from, sum(weight) FROM forecast_attention GROUP BY 1, 2, 3"
        ).fetchall()

    assert "3 series" in said or "3" in said
    assert {row[0] for row in rows} == {"api", "web/eu", 'naïve "q"'}
    assert len(rows) == 3 * 24
    assert all(row[1] == row[3] + row[2] * timedelta(minutes=5) for row in rows)
    assert all(row[4] <= row[5] <= row[6] for row in rows)
    assert all(abs(row[5] - 50) < 60 for row in rows)
    assert all(math.isclose(share[3], 1, abs_tol=1e-5) for share in shares)

    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO load VALUES ('api', %s, 55), ('new service', %s, 10)",
            (newest + timedelta(minutes=5), newest),
        )
    user.serves_for(18)
    with psycopg.connect(postgres_url) as connection:
        late = connection.execute(
            "SELECT count(*) FROM current_observations WHERE series_id IN ('new service')"
        ).fetchone()
        states = connection.execute(
            "SELECT state, count(*) FROM runs WHERE job = 'forecast' GROUP BY 1"
        ).fetchall()
    assert late == (1,)
    assert {state for state, _ in states} <= {"succeeded"}
    assert dict(states)["succeeded"] >= 3

    again = user.types("status", "--json")
    assert json.loads(again[again.index("{") if "{" in again else 0 :])


def test_daily_data_in_a_local_zone_in_postgresql(user: User, postgres_url: str) -> None:
    zone = ZoneInfo("America/New_York")
    today = datetime.now(zone).date()
    days = [today - timedelta(days=back) for back in range(1, 900)]
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE sales (shop text, day date, sold int)")
        with connection.cursor().copy("COPY sales FROM STDIN") as copy:
            for shop in ("north", "south"):
                for day in days:
                    copy.write_row((shop, day, 100 + 40 * (day.weekday() < 5) + day.day))
    user.configure(
        f'database_url = "{postgres_url}"\n'
        "[datasets.sales]\n"
        'query = "SELECT shop AS series_id, day AS timestamp, sold AS value FROM sales"\n'
        'step = "1d"\nhorizon = "14d"\ntimezone = "America/New_York"\ndelay = "1d"\n' + FAST
    )

    user.types("check")
    user.types("retrain")
    user.types("forecast")
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT series_id, timestamp, q50 FROM latest_forecasts ORDER BY 1, 2"
        ).fetchall()

    assert len(rows) == 2 * 14
    local = [row[1].astimezone(zone) for row in rows[:14]]
    assert all((moment.hour, moment.minute) == (0, 0) for moment in local)
    dates = [moment.date() for moment in local]
    assert [later - earlier for earlier, later in zip(dates, dates[1:], strict=False)] == [
        timedelta(days=1)
    ] * 13


def test_hourly_data_in_sqlite(user: User, free_tcp_port: int) -> None:
    newest = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    database = user.directory / "warehouse.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE trips (station TEXT, hour TEXT, rentals INTEGER)")
        connection.executemany(
            "INSERT INTO trips VALUES (?, ?, ?)",
            [
                (station, moment.strftime("%Y-%m-%d %H:%M:%S"), round(load(moment, 1)))
                for station in ("a", "b")
                for moment in (newest - timedelta(hours=back) for back in range(2000))
            ],
        )
    connection.close()
    user.configure(
        'database_url = "sqlite:///forecaster.db"\n'
        f'server.listen = "127.0.0.1:{free_tcp_port}"\n'
        "[datasets.bikes]\n"
        'query = "SELECT station AS series_id, hour AS timestamp, rentals AS value FROM trips"\n'
        'source_url = "sqlite:///warehouse.db"\n'
        'step = "1h"\nhorizon = "2d"\ntimezone = "UTC"\nforecast_every = "5s"\n' + FAST
    )

    user.types("check")
    user.types("retrain")
    first = user.types("forecast", "--at", newest.isoformat())
    second = user.types("forecast", "--at", newest.isoformat())
    user.serves_for(15)
    with sqlite3.connect(user.directory / "forecaster.db") as connection:
        rows = connection.execute("SELECT timestamp, q50 FROM latest_forecasts").fetchall()
        unfinished = connection.execute(
            "SELECT count(*) FROM runs WHERE state NOT IN ('succeeded', 'missed')"
        ).fetchone()
    connection.close()

    assert "already done, nothing written" in second
    assert "already done" not in first
    assert len(rows) == 2 * 48
    assert rows[0][0].endswith(":00:00+00:00")
    assert unfinished == (0,)
