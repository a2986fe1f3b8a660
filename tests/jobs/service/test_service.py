"""The service as a process: it starts, serves, recovers and stops."""

import json
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.service.serving import Running
from tests.jobs.terminal.terminal import configure, trips, type_
from tests.postgres import Cluster


def prepare(folder: Path, port: int, *, steps: int = 4) -> None:
    """Configure one dataset with data, and ticks every two seconds."""
    config = configure(folder, 'forecast_every = "2s"\n')
    text = config.read_text().replace("steps = 4", f"steps = {steps}")
    config.write_text(f'server.listen = "127.0.0.1:{port}"\n{text}')
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0


def states(folder: Path) -> dict[tuple[str, str], int]:
    with sqlite3.connect(folder / "forecaster.db") as connection:
        rows = connection.execute("SELECT job, state, count(*) FROM runs GROUP BY 1, 2").fetchall()
    connection.close()
    return {(job, state): count for job, state, count in rows}


@pytest.mark.fault(27)
@pytest.mark.slow
def test_a_first_start_trains_then_forecasts_and_stops_without_a_trace(
    folder: Path, free_port: int, serve: Callable[[], Running]
) -> None:
    prepare(folder, free_port)
    service = serve()

    assert service.becomes(lambda: service.get("/livez")[0] == 200), service.log()
    waiting, reasons = service.get("/readyz")
    assert service.becomes(lambda: service.get("/readyz")[0] == 200), service.log()
    assert service.becomes(lambda: states(folder).get(("forecast", "succeeded"), 0) >= 3)
    assert service.becomes(lambda: "\nforecaster_ready 1.0" in service.get("/metrics")[1])
    _, metrics = service.get("/metrics")
    status = service.stop()

    assert waiting == 503
    assert json.loads(reasons)["reasons"] == ["bikes has no model in service yet"]
    assert status == 0, service.log()
    succeeded = 'forecaster_runs_total{dataset="bikes",outcome="succeeded",task="retrain"} 1.0'
    assert succeeded in metrics
    assert {state for _, state in states(folder)} == {"succeeded"}, service.log()
    assert "Traceback" not in service.log()
    assert "forecast done dataset=bikes" in service.log()


@pytest.mark.fault(27)
@pytest.mark.slow
def test_a_stop_during_training_kills_the_child_and_a_new_start_trains_again(
    folder: Path, free_port: int, serve: Callable[[], Running]
) -> None:
    prepare(folder, free_port, steps=100_000)
    service = serve()
    assert service.becomes(lambda: bool(service.process.children())), service.log()
    child = service.process.children()[0]

    status = service.stop(signal.SIGINT)

    assert status == 0, service.log()
    assert not child.is_running()
    assert states(folder)[("retrain", "failed")] == 1
    config = folder / "forecaster.toml"
    config.write_text(config.read_text().replace("steps = 100000", "steps = 4"))
    again = serve()
    assert again.becomes(lambda: states(folder).get(("retrain", "succeeded")) == 1), again.log()
    assert again.stop() == 0


@pytest.mark.fault(27)
@pytest.mark.slow
def test_a_second_signal_ends_at_once(
    folder: Path, free_port: int, serve: Callable[[], Running]
) -> None:
    prepare(folder, free_port)
    service = serve()
    assert service.becomes(lambda: service.get("/readyz")[0] == 200), service.log()
    with sqlite3.connect(folder / "forecaster.db") as holder:
        holder.execute("BEGIN IMMEDIATE")  # the next tick waits for this lock
        time.sleep(3)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        still_there = service.process.poll() is None

        status = service.stop()
    holder.close()

    assert still_there
    assert status == 128 + signal.SIGTERM  # and not what a stop in good order says


@pytest.mark.fault(27)
@pytest.mark.slow
def test_a_tick_that_cannot_be_finished_is_abandoned_in_time(
    folder: Path, free_port: int, serve: Callable[[], Running]
) -> None:
    prepare(folder, free_port)
    service = serve()
    assert service.becomes(lambda: service.get("/readyz")[0] == 200), service.log()
    with sqlite3.connect(folder / "forecaster.db") as holder:
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(3)
        status = service.stop()
    holder.close()

    assert status == 0
    said = service.log()  # whichever came first: the deadline of its stage or that of the stop
    assert "timed out after" in said or "cancelled running jobs" in said


@pytest.mark.fault(30)
@pytest.mark.slow
def test_a_database_that_is_down_at_start_is_waited_for(
    folder: Path, free_port: int, serve: Callable[[], Running], postgres: Cluster
) -> None:
    name = f"late_{uuid.uuid4().hex}"
    config = configure(folder)
    lines = config.read_text().splitlines()[1:]
    head = [f'database_url = "{postgres.url_of(name)}"', f'server.listen = "127.0.0.1:{free_port}"']
    config.write_text("\n".join([*head, *lines]))
    service = serve()

    assert service.becomes(lambda: service.get("/livez")[0] == 200), service.log()
    down, reasons = service.get("/readyz")
    url = postgres.create_database(name)
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
    ready = service.becomes(lambda: service.get("/readyz")[0] == 200)
    status = service.stop()
    postgres.drop_database(url)

    assert down == 503
    assert "does not answer" in reasons or "no response" in reasons
    assert ready, service.log()
    assert status == 0
