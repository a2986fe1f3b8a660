"""The command line: data on stdout, talk on stderr, and no traceback for what users get wrong."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from forecaster import configfile
from forecaster.config import (
    DatasetConfig,
    ModelConfig,
    RetentionConfig,
    ServerConfig,
    TrainingConfig,
)
from jobs.cli import app
from jobs.commands.boundary import Boundary
from jobs.sample import SAMPLE
from tests.jobs.terminal import NEWEST, configure, trips, type_

COMMANDS = (
    "demo", "init", "check", "config", "db", "db upgrade", "db check", "ingest", "serve",
    "retrain", "forecast", "score", "prune", "status", "models", "models list", "models show",
    "models promote", "models rollback",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of their own, where they are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(folder: Path) -> Path:
    """The same with a configuration and ten days of data."""
    configure(folder)
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
    return folder


# Help


def test_every_command_explains_itself_as_in_the_golden_file(
    golden: Callable[[str, str], None],
) -> None:
    pages = [
        f"$ forecaster {name}".rstrip() + " --help\n" + help_of(name) for name in ("", *COMMANDS)
    ]

    golden("cli_help.txt", "\n".join(pages))


def help_of(name: str) -> str:
    return (
        CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
        .invoke(app, [*name.split(), "--help"], prog_name="forecaster")
        .stdout
    )


def test_help_needs_neither_torch_nor_polars() -> None:
    script = (
        "import sys; from jobs.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'polars', 'sqlalchemy', 'numpy', 'apscheduler'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", type_("--version").data)


def test_a_wrong_command_line_exits_2() -> None:
    assert type_("forecst").status == 2
    assert type_("retrain", "--nope").status == 2


# Configuration


def test_a_missing_configuration_is_an_error_with_a_hint(folder: Path) -> None:
    answer = type_("check")

    assert answer.status == 2
    assert answer.talk == (
        "error: the configuration must be a file, found nothing at forecaster.toml\n"
        "hint:  `forecaster init` writes one; `--config` or FORECASTER_CONFIG names another\n"
    )


def test_all_wrong_settings_are_told_at_once_with_suggestions(folder: Path) -> None:
    configure(folder, 'dealy = "5m"\ntimezone = "America/New_Yrok"\nlate_data = 3\n')

    answer = type_("check")

    assert answer.status == 2
    assert "did you mean 'delay'?" in answer.talk
    assert "did you mean 'America/New_York'?" in answer.talk
    assert answer.talk.count("error: ") == 3
    assert answer.data == ""


def test_init_writes_a_configuration_and_a_database_that_check_accepts(folder: Path) -> None:
    first, again = type_("init"), type_("init")
    answer = type_("check")

    assert (first.status, answer.status) == (0, 0)
    assert (folder / "forecaster.db").exists()
    assert again.status == 2
    assert "--force" in again.talk
    assert "example" in answer.data


def test_the_sample_holds_every_setting_and_shows_its_default() -> None:
    shown = re.sub(r"^# (\w+ = )", r"\1", SAMPLE, flags=re.MULTILINE)
    plain = configfile.parse(SAMPLE, {}, read_file=str)
    filled = configfile.parse(shown, {"WAREHOUSE_URL": "sqlite:///x.db"}, read_file=str)

    assert plain.server == filled.server
    assert plain.retention == filled.retention
    assert plain.prune_every == filled.prune_every
    for kind in (DatasetConfig, ModelConfig, TrainingConfig, RetentionConfig):
        names = {field.name for field in fields(kind)} - {"name", "model", "training"}
        assert {name for name in names if f"\n{name} = " not in shown} <= {"prediction_length"}
    assert {field.name for field in fields(ServerConfig)} == {"host", "port"}
    example, defaults = filled.datasets["example"], plain.datasets["example"]
    chosen = {"query", "source_url", "timezone", "lower_bound", "upper_bound", "model", "training"}
    for field in fields(DatasetConfig):
        if field.name not in chosen:
            assert getattr(example, field.name) == getattr(defaults, field.name), field.name


def test_config_prints_what_is_in_force_without_the_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    (folder / "other.toml").write_text('database_url = "postgresql://me:${PASSWORD}@db/x"\n')

    answer = type_("config", "--config", "other.toml")

    assert 'prune_every = "1d"' in answer.data
    assert "***" in answer.data
    assert "s3cret" not in answer.data + answer.talk


def test_the_environment_may_name_the_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(folder).rename(folder / "elsewhere.toml")
    monkeypatch.setenv("FORECASTER_CONFIG", str(config))

    assert type_("config").status == 0


def test_a_dataset_nobody_configured_is_an_error(configured: Path) -> None:
    answer = type_("retrain", "trams")

    assert answer.status == 2
    assert "dataset must be one of bikes, found trams" in answer.talk


def test_an_instant_without_offset_is_an_error(configured: Path) -> None:
    answer = type_("forecast", "--at", "2026-11-20T09:00:00")

    assert answer.status == 2
    assert "--at must be an ISO 8601 instant with an offset" in answer.talk


# Databases


def test_a_database_that_is_down_is_an_error_without_the_password(folder: Path) -> None:
    (folder / "forecaster.toml").write_text(
        'database_url = "postgresql://me:s3cret@127.0.0.1:9/x"\n'
    )

    for command in ("check", "retrain", "status"):
        answer = type_(command)
        assert answer.status == 1
        assert answer.talk.startswith(
            "error: postgresql+psycopg://me:***@127.0.0.1:9/x must answer"
        )
        assert "hint:  " in answer.talk
        assert "s3cret" not in answer.talk


@pytest.mark.parametrize("command", ["check", "retrain", "serve", "status"])
def test_an_older_schema_is_refused_with_the_command_that_mends_it(
    configured: Path, command: str
) -> None:
    with sqlite3.connect(configured / "forecaster.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()

    answer = type_(command)

    assert answer.status == 1
    assert "must be at revision" in answer.talk
    assert "hint:  run `forecaster db upgrade`" in answer.talk


def test_serve_refuses_a_database_without_tables(folder: Path) -> None:
    configure(folder)

    answer = type_("serve")

    assert answer.status == 1
    assert "hint:  run `forecaster db upgrade`" in answer.talk


def test_db_upgrade_works_without_a_configuration_and_is_safe_to_repeat(folder: Path) -> None:
    before = type_("db", "check")
    first, again = type_("db", "upgrade"), type_("db", "upgrade")

    assert before.status == 1
    assert "upgraded to revision" in first.data
    assert "is at revision" in again.data
    assert type_("db", "check").status == 0


def test_a_file_that_is_no_database_is_an_error(folder: Path) -> None:
    configure(folder)
    (folder / "forecaster.db").write_text("this is a text, and quite a long one at that" * 50)

    answer = type_("check")

    assert answer.status == 1
    assert "must be a sound sqlite database" in answer.talk


# Data


def test_check_finds_the_rows_of_a_query(folder: Path) -> None:
    warehouse(folder)
    configure(folder, source(folder, "SELECT * FROM trips"))

    answer = type_("check", "--json")

    (found,) = json.loads(answer.data)
    assert (answer.status, found["series"], found["rejected"]) == (0, 1, "none")
    assert not (folder / "forecaster.db").exists() or type_("db", "check").status == 1


def test_check_names_missing_columns_and_exits_1(folder: Path) -> None:
    warehouse(folder)
    configure(folder, source(folder, "SELECT series_id, timestamp, value AS vlaue FROM trips"))

    answer = type_("check")

    assert answer.status == 1
    assert "must have columns 'value', found series_id, timestamp, vlaue" in answer.talk
    assert "vlaue" in answer.talk.split("hint:")[1]


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
        "error: dataset bikes must have a model in service, found none\n"
        "hint:  run `forecaster retrain`\n"
    )


def test_nothing_to_train_on_is_an_error(folder: Path) -> None:
    configure(folder)
    assert type_("ingest", "-", "--format", "csv", stdin=trips(hours=1)).status == 0

    answer = type_("retrain")

    assert answer.status == 1
    assert answer.talk.startswith("error: ")


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
    assert "succeeded" in type_("status").data


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
    assert "model 77 must be one of dataset bikes" in unknown.talk


# The boundary


def test_a_bug_keeps_its_traceback() -> None:
    broken = typer.Typer(cls=Boundary)

    @broken.command()
    def divide() -> None:
        raise ZeroDivisionError

    @broken.command()
    def other() -> None: ...

    done = CliRunner().invoke(broken, ["divide"])

    assert isinstance(done.exception, ZeroDivisionError)


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
