"""A service that is told to end does so in time, and leaves no process and no half tick."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.jobs.service.serving import STOPS_WITHIN, Running
from tests.jobs.terminal.terminal import configure, trips, type_

pytestmark = pytest.mark.slow


def prepare(folder: Path, port: int, *, every: str = "1s", steps: int = 4) -> None:
    """Configure one dataset with data; it has ticks `every` so often."""
    config = configure(folder, f'forecast_every = "{every}"\n')
    text = config.read_text().replace("steps = 4", f"steps = {steps}")
    config.write_text(f'server.listen = "127.0.0.1:{port}"\n{text}')
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0


def states(folder: Path, job: str) -> set[str]:
    with sqlite3.connect(folder / "forecaster.db") as connection:
        rows = connection.execute("SELECT state FROM runs WHERE job = ?", [job]).fetchall()
    connection.close()
    return {state for (state,) in rows}


def gone(processes: list[psutil.Process]) -> bool:
    return all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in processes)


@pytest.mark.fault(27)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_service_ends_at_once(
    folder: Path, free_port: int, serve: Callable[[], Running], number: int
) -> None:
    prepare(folder, free_port, every="1h")
    service = serve()
    assert service.becomes(lambda: service.get("/readyz")[0] == 200), service.log()
    assert service.becomes(lambda: states(folder, "forecast") == {"succeeded"}), service.log()
    family = service.process.children(recursive=True)

    status = service.stop(number)

    assert status == 0, service.log()
    assert "cancelled" not in service.log()
    assert gone(family)


@pytest.mark.fault(27)
def test_a_tick_that_is_being_written_is_finished(
    folder: Path, free_port: int, serve: Callable[[], Running]
) -> None:
    prepare(folder, free_port)
    service = serve()
    assert service.becomes(lambda: states(folder, "forecast") == {"succeeded"}), service.log()
    with sqlite3.connect(folder / "forecaster.db") as holder:
        holder.execute("BEGIN IMMEDIATE")  # the next tick waits for this lock
        time.sleep(2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        holder.rollback()
        status = service.process.wait(timeout=STOPS_WITHIN)
    holder.close()

    assert status == 0, service.log()
    assert states(folder, "forecast") == {"succeeded"}


@pytest.mark.fault(27, 28)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_training_outlives_its_service(
    folder: Path, free_port: int, serve: Callable[[], Running], number: int
) -> None:
    prepare(folder, free_port, steps=100_000)
    service = serve()
    assert service.becomes(lambda: bool(service.process.children())), service.log()
    time.sleep(3)  # until it trains
    family = service.process.children(recursive=True)

    status = service.stop(number)

    until = time.monotonic() + 10
    while not gone(family) and time.monotonic() < until:
        time.sleep(0.1)
    assert family
    assert gone(family)
    assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL)


@pytest.mark.fault(5)
def test_a_log_that_takes_nothing_stops_no_tick(folder: Path, free_port: int) -> None:
    prepare(folder, free_port)
    with Path("/dev/full").open("w") as full:
        service = subprocess.Popen(
            [sys.executable, "-m", "jobs", "serve"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=full,
        )
    until = time.monotonic() + 60
    while states(folder, "forecast") != {"succeeded"} and time.monotonic() < until:
        time.sleep(0.2)
    service.send_signal(signal.SIGTERM)

    assert service.wait(timeout=STOPS_WITHIN) == 0
    assert states(folder, "forecast") == {"succeeded"}
