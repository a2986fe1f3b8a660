"""A service under which the schema changes writes nothing until it fits again."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.service.serving import Running
from tests.jobs.terminal.terminal import configure, trips, type_

pytestmark = [pytest.mark.slow, pytest.mark.fault(17)]


def run_sql(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "forecaster.db") as connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def ticks(folder: Path) -> object:
    return run_sql(folder, "SELECT count(*), max(attempt) FROM runs WHERE job = 'forecast'")


def test_a_schema_of_a_newer_version_stops_the_ticks_until_it_is_ours_again(
    folder: Path, free_port: int, serve: Callable[[], Running]
) -> None:
    config = configure(folder, 'forecast_every = "1s"\n')
    config.write_text(f'server.listen = "127.0.0.1:{free_port}"\n{config.read_text()}')
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
    service = serve()
    assert service.becomes(lambda: service.get("/readyz")[0] == 200), service.log()
    [(ours,)] = run_sql(folder, "SELECT version_num FROM alembic_version")

    run_sql(folder, "UPDATE alembic_version SET version_num = '9999'")
    assert service.becomes(lambda: service.get("/readyz")[0] == 503), service.log()
    before = ticks(folder)
    alive, (_, told) = service.get("/livez")[0], service.get("/readyz")
    time.sleep(3)
    after = ticks(folder)
    run_sql(folder, f"UPDATE alembic_version SET version_num = '{ours}'")
    back = service.becomes(lambda: service.get("/readyz")[0] == 200 and ticks(folder) != after)

    assert alive == 200
    assert "schema revision is" in told
    assert after == before
    assert back, service.log()
    assert service.stop() == 0
