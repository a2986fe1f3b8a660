"""`forecaster check`: the file alone, with the databases, and with the rows."""

import json
import sqlite3
import tomllib
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.jobs.terminal.terminal import (
    NEWEST,
    configure,
    trips,
    type_,
)

MISTAKES = """\
database_url = "sqlite://forecaster.db"
lease_tll = "10s"
prune_every = "often"
[server]
listen = "8790"
[datasets.bikes]
step = "1h"
horizon = "-2d"
timezone = "Europe/Berln"
forecast_cron = "61 * * * *"
source_url = "postgresql://${NO_SUCH_VARIABLE}@db/x"
lower_bound = 5
upper_bound = 1
dealy = "5m"
model.score = "scaled_dott"
[datasets.trams]
step = "1h"
prediction_length = 3
query = "SELECT 1"
source_url_file = "no/such/file"
series_columns = ["line", "value"]
deadlines.predict = "2h"
[datasets.boats]
step = "1h"
prediction_length = 3
model.score = "no_such_module:Score"
"""
TOLD = (
    "database_url: must have a path after three slashes",
    "lease_tll: unknown setting",
    "prune_every: must be a duration",
    'server.listen: must be "host:port"',
    "datasets.bikes.horizon: must be a duration that is not negative",
    "did you mean 'Europe/Berlin'?",
    "datasets.bikes.forecast_cron: minute must be a number from 0 to 59",
    "needs the environment variable NO_SUCH_VARIABLE",
    "datasets.bikes.lower_bound: must be below upper_bound",
    "did you mean 'delay'?",
    "did you mean 'scaled_dot'?",
    "datasets.trams.source_url_file: must be the path of a readable file",
    "datasets.trams.series_columns: must differ from the other columns",
    "datasets.trams.deadlines.predict: must be shorter than",
    "boats: cannot import plug-in 'no_such_module:Score'",
)


@pytest.mark.fault(18)
def test_mistakes_of_every_kind_are_found_at_once(folder: Path) -> None:
    (folder / "forecaster.toml").write_text(MISTAKES)

    answer = type_("check")

    assert answer.status == 2
    assert [told for told in TOLD if told not in answer.talk] == []
    assert answer.talk.count("error: ") == len(TOLD)
    assert answer.data == ""
    assert list(folder.iterdir()) == [folder / "forecaster.toml"]


@pytest.mark.fault(18)
def test_mistakes_can_be_read_as_json(folder: Path) -> None:
    (folder / "forecaster.toml").write_text(MISTAKES)

    answer = type_("check", "--json", "--connect")

    assert answer.status == 2
    assert len(json.loads(answer.data)["findings"]) == len(TOLD)


WORDS = st.sampled_from(
    ["database_url", "[datasets.x]", "[datasets.x.model]", "step", "horizon", "=", '"1h"', "-1",
     "1e400", '"sqlite:///f.db"', "query", '"""', "\n", " ", "[", "]", "{", "}", "score", "true",
     "forecast_cron", '"* * * *"', "timezone", "\x00", "é", "nan", "0x", "[server]", "listen"]
)  # fmt: skip


@pytest.mark.fault(18)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, max_size=30), start=st.sampled_from(["", MISTAKES, MISTAKES[:90]]))
def test_no_file_whatever_is_in_it_ends_in_a_traceback(
    folder: Path, words: list[str], start: str
) -> None:
    (folder / "forecaster.toml").write_text(start + " ".join(words))

    answer = type_("check")

    assert answer.status in (0, 1, 2)
    assert (answer.status == 0) == ("error: " not in answer.talk)


def test_without_options_nothing_is_touched_and_what_was_understood_is_shown(folder: Path) -> None:
    configure(folder, 'source_url = "postgresql://me:s3cret@127.0.0.1:9/x"\nquery = "SELECT 1"\n')

    answer = type_("check")

    assert answer.status == 0, answer.talk
    assert answer.data.splitlines()[1].split()[:4] == ["bikes", "1h", "6h,", "6"]
    assert "forecaster check --connect" in answer.talk
    assert not (folder / "forecaster.db").exists()


def test_settings_that_are_odd_together_are_noted(folder: Path) -> None:
    configure(folder, 'history = "8h"\ndelay = "9h"\nforecast_every = "5m"\n')

    answer = type_("check")

    assert answer.status == 0
    assert answer.talk.count("note:  bikes: ") == 4


def test_connect_finds_the_rows_of_a_query(folder: Path) -> None:
    warehouse(folder)
    configure(folder, source(folder, "SELECT * FROM trips"))

    answer = type_("check", "--connect", "--json")

    document = json.loads(answer.data)
    assert (answer.status, document["findings"][0]["level"]) == (0, "note")
    assert document["datasets"][0]["found"]["series"] == 1
    assert not (folder / "forecaster.db").exists()


@pytest.mark.fault(16)
def test_connect_names_missing_columns_of_one_dataset_and_goes_on_with_the_next(
    folder: Path,
) -> None:
    warehouse(folder)
    configure(folder, source(folder, "SELECT series_id, timestamp, value AS vlaue FROM trips"))
    with (folder / "forecaster.toml").open("a") as config:
        config.write('[datasets.other]\nstep = "1h"\nhorizon = "2h"\n')
        config.write(source(folder, "SELECT * FROM trips"))

    answer = type_("check", "--connect")

    assert answer.status == 1
    assert "bikes: query of dataset bikes does not return 'value'" in answer.talk
    assert "vlaue" in answer.talk.split("hint:")[-1]
    assert answer.data.splitlines()[-1].split()[:3] == ["other", "10", "1"]


@pytest.mark.parametrize("option", ["--connect", "--data"])
def test_numbers_that_are_no_timestamps_are_found_though_no_row_is_recent(
    folder: Path, option: str
) -> None:
    warehouse(folder)
    days = "CAST(julianday(timestamp) AS INTEGER) - 2415019"
    configure(folder, source(folder, f"SELECT series_id, {days} AS timestamp, value FROM trips"))

    answer = type_("check", option)

    assert answer.status == 1
    assert "as seconds since 1970 it is 1970-01-01" in answer.talk
    assert "as days of a spreadsheet" in answer.talk


@pytest.mark.parametrize(
    ("select", "told"),
    [
        ("series_id, timestamp, x'00' AS value", "10 of 10 rows cannot be used: unreadable_value"),
        ("series_id, x'00' AS timestamp, value", "10 rows cannot be used: unreadable_timestamp"),
        ("series_id, timestamp, 'much' AS value", "10 of 10 rows cannot be used: unreadable_value"),
        ("nosuch, timestamp, value", "no such column: nosuch"),
    ],
)
def test_connect_tells_of_types_that_do_not_fit(folder: Path, select: str, told: str) -> None:
    warehouse(folder)
    configure(folder, source(folder, f"SELECT {select} FROM trips"))

    answer = type_("check", "--connect")

    assert answer.status == 1
    assert told in answer.talk


@pytest.mark.parametrize(
    ("select", "told"),
    [
        (
            "timestamp, '{}'::jsonb AS value",
            "value_column 'value' has type jsonb, expected numbers",
        ),
        ("true AS timestamp, value", "timestamp_column 'timestamp' has type bool, expected times"),
        ("timestamp, ARRAY[value] AS value", "has type unknown, expected numbers"),
        ("timestamp::timestamp AS timestamp, value", "timezone"),
    ],
)
def test_connect_tells_of_types_of_postgresql(
    folder: Path, postgres_url: str, select: str, told: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE trips (series_id text, timestamp timestamptz, value float8)")
        conn.execute("INSERT INTO trips VALUES ('a', now(), 1)")
    configure(folder, f'query = "SELECT series_id, {select} FROM trips"\n'
              f'source_url = "{postgres_url}"\n')  # fmt: skip

    answer = type_("check", "--connect")

    assert answer.status == 1
    assert told in answer.talk.partition("error: bikes: ")[2]


def test_connect_tells_of_roles_that_may_too_much_or_too_little(
    folder: Path, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE trips (series_id text, timestamp timestamptz, value float8)")
        conn.execute("INSERT INTO trips VALUES ('a', now(), 1)")
    read_only = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"
    (folder / "forecaster.toml").write_text(
        f'database_url = "{read_only}"\n[datasets.x]\nstep = "1h"\nhorizon = "2h"\n'
        f'query = "SELECT * FROM trips"\nsource_url = "{postgres_url}"\ningest_column = "value"\n'
    )

    answer = type_("check", "--connect")

    assert answer.status == 1
    assert "note:  x: the role of source_url can write to public.trips: SELECT is enough" in (
        answer.talk
    )
    assert "error: database: the database is read-only" in answer.talk
    assert "error: x: ingest_column of dataset x must be of type bigint" in answer.talk


def test_data_is_read_and_settings_are_suggested_as_toml(folder: Path) -> None:
    configure(folder, 'lower_bound = 0\nforecast_every = "1h"\n')
    type_("ingest", "-", "--format", "csv", stdin=trips(600, NEWEST - timedelta(hours=5)))

    answer = type_("check", "--data")
    document = json.loads(type_("check", "--data", "--json").data)

    assert answer.status == 0, answer.talk
    suggested = tomllib.loads(answer.data.partition("settings\n")[2])
    assert document["suggestions"] == {"bikes": suggested["datasets"]["bikes"]}
    assert suggested["datasets"]["bikes"]["delay"].startswith(
        ("4h", "5h", "6h")
    )  # or an hour began
    found = document["datasets"][0]["found"]
    assert (found["rows"], found["step"], found["season_length"]) == (1200, "1h", 24)


def test_data_that_comes_at_another_step_fails(folder: Path) -> None:
    warehouse(folder, every=timedelta(days=1))
    configure(folder, source(folder, "SELECT * FROM trips"))

    answer = type_("check", "--data")

    assert answer.status == 1
    assert "bikes: step is 1h, rows come every 1d" in answer.talk
    assert 'step = "1d"' in answer.data


def warehouse(folder: Path, every: timedelta = timedelta(hours=1)) -> None:
    """Make a database of somebody else with one table."""
    with sqlite3.connect(folder / "warehouse.db") as connection:
        connection.execute("CREATE TABLE trips (series_id TEXT, timestamp TEXT, value REAL)")
        connection.executemany(
            "INSERT INTO trips VALUES ('a', ?, ?)",
            [((NEWEST - back * every).isoformat(), back) for back in range(10)],
        )
    connection.close()


def source(folder: Path, query: str) -> str:
    # The small dataset's table ends with inline tables, so that keys may follow.
    return f'query = "{query}"\nsource_url = "sqlite:///{folder / "warehouse.db"}"\n'


@pytest.mark.parametrize("line", ["", 'timestamp_marks = "instant"\n'])
def test_a_query_that_groups_is_said_to_give_sums(folder: Path, line: str) -> None:
    warehouse(folder)
    query = "SELECT series_id, timestamp, sum(value) AS value FROM trips GROUP BY 1, 2"
    configure(folder, source(folder, query) + line)

    answer = type_("check", "--data")

    assert ("bikes: the query has a GROUP BY" in answer.talk) == (not line)
    assert ('set timestamp_marks = "start"' in answer.talk) == (not line)
