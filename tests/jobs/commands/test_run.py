"""Commands that touch data and run jobs."""

import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from tests.jobs.terminal.terminal import (
    NEWEST,
    configure,
    trips,
    type_,
)


def test_naive_timestamps_need_a_declared_zone(folder: Path) -> None:
    configure(folder)
    text = "series_id,timestamp,value\na,2026-01-01 00:00:00,1\n"

    answer = type_("ingest", "-", "--format", "csv", stdin=text)
    zoned = type_("ingest", "-", "--format", "csv", "--timezone", "Europe/Oslo", stdin=text)

    assert answer.status == 1
    assert "timezone" in answer.talk
    assert zoned.status == 0
    assert "from 2025-12-31 23:00:00Z" in zoned.data


@pytest.mark.parametrize("file", ["missing.csv", "noise.parquet", "notes.txt"])
def test_a_file_that_cannot_be_read_is_an_error(folder: Path, file: str) -> None:
    configure(folder)
    (folder / "noise.parquet").write_bytes(b"PAR1 but not really")
    (folder / "notes.txt").write_text("hello")

    answer = type_("ingest", file)

    assert answer.status == 1
    assert answer.talk.count("error: ") == 1
    assert "hint:  " in answer.talk


def test_columns_can_be_mapped_and_a_second_ingest_changes_nothing(folder: Path) -> None:
    configure(folder)
    (folder / "x.csv").write_text("where,when,much\na,2026-01-01T00:00Z,1\nb,2026-01-01T00:00Z,x\n")
    words = ("ingest", "x.csv", "--series-column", "where", "--timestamp-column", "when",
             "--value-column", "much", "--json")  # fmt: skip

    first, again = json.loads(type_(*words).data), json.loads(type_(*words).data)

    assert (first["new"], first["rejected"]) == (1, {"unreadable_value": 1})
    assert (again["new"], again["unchanged"]) == (0, 1)


# Jobs


def test_no_model_yet_is_an_error_that_says_what_to_run(configured: Path) -> None:
    answer = type_("forecast")

    assert answer.status == 1
    assert answer.talk == (
        "error: dataset bikes has no champion\nhint:  run `forecaster retrain`\n"
    )


def test_nothing_to_train_on_is_an_error(folder: Path) -> None:
    configure(folder)
    assert type_("ingest", "-", "--format", "csv", stdin=trips(hours=1)).status == 0

    answer = type_("retrain")

    assert answer.status == 1
    assert answer.talk.startswith("error: ")


def test_with_several_datasets_every_message_names_its_own(folder: Path) -> None:
    warehouse(folder)
    text = source(
        folder, "SELECT series_id, substr(timestamp, 1, 16) AS timestamp, value FROM trips"
    )
    configure(folder, text + '[datasets.trams]\nstep = "1h"\nhorizon = "6h"\n')
    assert type_("prune", "--at", "2026-01-01T00Z").status == 0

    failed, again = type_("retrain"), type_("prune", "--at", "2026-01-01T00Z")

    assert failed.status == 1
    assert "error: bikes: timestamps without an offset need a time zone" in failed.talk
    assert "error: trams: no observations" in failed.talk
    assert [line.split(": tick ")[0] for line in again.talk.splitlines()] == ["bikes", "trams"]


def test_a_first_day_of_jobs(configured: Path) -> None:
    past, now = (NEWEST - timedelta(days=2)).isoformat(), NEWEST.isoformat()

    trained = type_("retrain", "--at", past)
    early, newest, again = (type_("forecast", "--at", at) for at in (past, now, now))
    scored = json.loads(type_("score", "--json").data)
    pruned = type_("prune")
    status = json.loads(type_("status", "--json").data)

    assert trained.data.startswith("bikes: model 1 promoted")
    assert "training bikes: step 4/4" in trained.talk
    assert early.data.startswith("bikes: forecast 2 series, 12 rows, for the tick")
    assert (newest.status, again.status, again.data) == (0, 0, "")
    assert again.talk.endswith("already done, nothing written\n")
    assert sum(lead["points"] for lead in scored[0]["leads"]) == scored[0]["points"] == 12
    assert pruned.data.startswith("bikes: pruned")
    (bikes,) = status["datasets"]
    assert {run["job"] for run in bikes["runs"]} == {"retrain", "forecast", "score", "prune"}
    sizes = {table["table"]: table for table in status["size"]["tables"]}
    assert sizes["forecasts"]["rows"] == 2 * 2
    shown = type_("status").data
    assert "succeeded" in shown
    assert "total " in shown


@pytest.mark.parametrize(
    ("datasets", "missing"),
    [
        ("", "no datasets are configured\nhint:  `forecaster init` writes a configuration\n"),
        ("ingested", "no observations of ingested yet\nhint:  run `forecaster ingest`\n"),
        ("queried", "no models yet\nhint:  run `forecaster retrain`\n"),
        ("queried ingested", "no observations of ingested yet\nhint:  run `forecaster ingest`\n"),
    ],
)
def test_without_runs_the_status_says_what_is_missing(
    folder: Path, datasets: str, missing: str
) -> None:
    sections = {
        "ingested": '[datasets.ingested]\nstep = "1h"\nhorizon = "6h"\n',
        "queried": '[datasets.queried]\nstep = "1h"\nhorizon = "6h"\nquery = "SELECT 1"\n',
    }
    settings = "".join(sections[name] for name in datasets.split())
    (folder / "forecaster.toml").write_text(f'database_url = "sqlite:///f.db"\n{settings}')
    assert type_("db", "upgrade").status == 0

    shown, document = type_("status"), json.loads(type_("status", "--json").data)

    assert shown.status == 0
    assert missing in shown.data
    assert "finished at" not in shown.data
    assert all(dataset["runs"] == [] for dataset in document["datasets"])


def test_after_rows_were_ingested_a_model_is_missing(folder: Path) -> None:
    configure(folder)
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0

    assert "no models yet\nhint:  run `forecaster retrain`\n" in type_("status").data


@pytest.mark.slow
def test_models_can_be_listed_shown_promoted_and_rolled_back(configured: Path) -> None:
    type_("retrain", "--at", (NEWEST - timedelta(days=2)).isoformat())
    type_("retrain")

    listed = json.loads(type_("models", "list", "--json").data)
    rolled = type_("models", "rollback")
    promoted = type_("models", "promote", "2", "--reason", "because")
    shown = json.loads(type_("models", "show", "2").data)
    unknown = type_("models", "promote", "77")

    assert [model["model_id"] for model in listed] == [2, 1]
    assert "model 1 is in service again" in rolled.data
    assert "model 2 is in service" in promoted.data
    assert (shown["champion"], shown["reason"]) == (True, "because")
    assert "weights" not in shown
    assert "because" in type_("models", "list").data
    assert unknown.status == 1
    assert "dataset bikes has no model 77" in unknown.talk


def warehouse(folder: Path) -> None:
    """Make a database of somebody else with one table."""
    with sqlite3.connect(folder / "warehouse.db") as connection:
        connection.execute("CREATE TABLE trips (series_id TEXT, timestamp TEXT, value REAL)")
        connection.executemany(
            "INSERT INTO trips VALUES ('a', ?, ?)",
            [((NEWEST - timedelta(hours=back)).isoformat(), back) for back in range(10)],
        )
    connection.close()


def source(folder: Path, query: str) -> str:
    # The small dataset's table ends with inline tables, so that keys may follow.
    return f'query = "{query}"\nsource_url = "sqlite:///{folder / "warehouse.db"}"\n'
