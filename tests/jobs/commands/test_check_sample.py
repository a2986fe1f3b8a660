"""`check --data` on more rows than are read for it, and on rows that cannot be read."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from jobs.commands import check_sources
from tests.jobs.terminal.terminal import (
    NEWEST,
    configure,
    trips,
    type_,
)


@pytest.mark.parametrize("most", [300, 1000])
def test_a_sample_that_leaves_history_out_does_not_ask_for_more_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    configure(folder)
    type_("ingest", "-", "--format", "csv", stdin=trips(600, NEWEST - timedelta(hours=1)))
    monkeypatch.setattr(check_sources, "SAMPLE_ROWS", most)

    answer = type_("check", "--data")

    assert answer.status == 0, answer.talk
    assert "detecting a season" not in answer.talk
    assert "history =" not in answer.data


@pytest.mark.parametrize(
    ("lost", "line", "status"),
    [(12, "", 1), (12, "max_rejected = 0.2\n", 0), (3, "", 0), (100, "max_rejected = 0.5\n", 1)],
)
def test_data_of_which_a_pull_would_lose_too_much_fails(
    folder: Path, lost: int, line: str, status: int
) -> None:
    stamps = [NEWEST - timedelta(hours=back) for back in range(100)]
    values = ["ERR" if place < lost else "1" for place in range(100)]
    with sqlite3.connect(folder / "warehouse.db") as connection:
        connection.execute("CREATE TABLE trips (series_id TEXT, timestamp TEXT, value TEXT)")
        connection.executemany(
            "INSERT INTO trips VALUES ('a', ?, ?)",
            zip([stamp.isoformat() for stamp in stamps], values, strict=True),
        )
    connection.close()
    source = f'query = "SELECT * FROM trips"\nsource_url = "sqlite:///{folder}/warehouse.db"\n'
    configure(folder, source + line)

    answer = type_("check", "--data")
    refused = type_("forecast")

    assert answer.status == status, answer.talk
    told = answer.talk.partition("error: bikes: ")[2]
    assert (f"{lost} of 100 rows were rejected" in told) == bool(status)
    assert (f"{lost} unreadable_value, all of the form 'a'" in told) == bool(status)
    assert ("such as 'ERR'" in told) == bool(status)
    assert ("rows were rejected" in refused.talk) == bool(status)


def test_a_delay_is_suggested_by_the_arrivals_that_a_source_knows(
    folder: Path, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE trips AS SELECT 'a' AS series_id, at AS timestamp, 1 AS value, "
            "at + interval '30 hours' AS seen FROM generate_series("
            "date_trunc('day', now()) - interval '200 days', now(), '1 day') AS at "
            "WHERE extract(isodow FROM at) < 6 AND at + interval '30 hours' < now()"
        )
    configure(folder)
    config = folder / "forecaster.toml"
    config.write_text(
        config.read_text().replace('step = "1h"\nhorizon = "6h"', 'step = "1d"\nhorizon = "3d"')
        + f'query = "SELECT * FROM trips"\nsource_url = "{postgres_url}"\ningest_column = "seen"\n'
    )

    answer = type_("check", "--data")

    assert 'delay = "1d6h"' in answer.data, answer.talk
