"""The command line: data on stdout, talk on stderr, and no traceback for what users get wrong."""

import re
import runpy
import sqlite3
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from forecaster.config import file
from forecaster.config.sample import SAMPLE
from forecaster.config.settings import (
    DatasetConfig,
    DeadlineConfig,
    ModelConfig,
    RetentionConfig,
    ServerConfig,
    TrainingConfig,
)
from jobs.cli import app
from jobs.terminal.error_boundary import Boundary
from tests.jobs.terminal.terminal import configure, type_
from tests.scripts import output_of

ROOT = Path(__file__).resolve().parents[3]

# Help


def test_every_command_is_listed_in_full_on_a_terminal_of_80_columns() -> None:
    for name in ("", "db", "models"):
        assert "..." not in help_of(name, columns=80).partition("Commands:")[2]


def help_of(name: str, *, columns: int = 100) -> str:
    return (
        CliRunner(env={"COLUMNS": str(columns), "TERMINAL_WIDTH": str(columns)})
        .invoke(app, [*name.split(), "--help"], prog_name="forecaster")
        .stdout
    )


@pytest.mark.parametrize("word", ["--help", "serve"])
def test_help_and_a_missing_configuration_need_neither_torch_nor_polars(
    word: str, tmp_path: Path
) -> None:
    script = (
        "import sys; from jobs.cli import app\n"
        f"try: app([{word!r}])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'polars', 'sqlalchemy', 'numpy', 'apscheduler'} & set(sys.modules)\n"
        "print(', '.join(heavy) or 'none')"
    )

    assert output_of(script, tmp_path).splitlines()[-1] == "none"


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
        "error: configuration file forecaster.toml not found\n"
        "hint:  create it with `forecaster init`, or pass its path with --config\n"
    )


@pytest.mark.fault(18)
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
    plain = file.parse(SAMPLE, {}, read_file=str)
    shown_in_utc = shown.replace("America/New_York", "UTC")  # the default is no zone
    filled = file.parse(shown_in_utc, {"WAREHOUSE_URL": "sqlite:///x.db"}, read_file=str)

    listens = [(each.server.host, each.server.port) for each in (plain, filled)]
    assert listens[0] == listens[1]
    assert all(getattr(filled.server, field.name) is not None for field in fields(ServerConfig))
    assert plain.retention == filled.retention
    assert plain.prune_schedule == filled.prune_schedule
    for kind in (DatasetConfig, DeadlineConfig, ModelConfig, TrainingConfig, RetentionConfig):
        names = {field.name.replace("_schedule", "_every") for field in fields(kind)}
        names -= {"name", "deadlines", "model", "training"}
        assert {name for name in names if f"\n{name} = " not in shown} <= {"prediction_length"}
    example, defaults = filled.datasets["example"], plain.datasets["example"]
    chosen = {
        "query",
        "source_url",
        "ingest_column",
        "timezone",
        "timestamp_marks",
        "timestamp_format",
        "decimal",
        "lower_bound",
        "upper_bound",
        "model",
        "training",
    }
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
    assert "unknown dataset trams, expected one of: bikes" in answer.talk


def test_an_instant_without_offset_is_an_error(configured: Path) -> None:
    answer = type_("forecast", "--at", "2026-11-20T09:00:00")

    assert answer.status == 2
    assert "--at must be an ISO 8601 time with an offset" in answer.talk


@pytest.mark.parametrize("at", ["9999-12-31T23:59Z", "0001-01-01T00:00+14:00", "1899-12-31T00Z"])
def test_a_tick_that_nothing_can_be_known_at_is_an_error(configured: Path, at: str) -> None:
    answer = type_("forecast", "--at", at)

    assert answer.status == 2
    assert answer.talk.startswith(f"error: --at must be between 1900 and now, found {at}\n")


# Databases


def test_a_database_that_is_down_is_an_error_without_the_password(folder: Path) -> None:
    (folder / "forecaster.toml").write_text(
        'database_url = "postgresql://me:s3cret@127.0.0.1:9/x"\n'
    )

    for command in (["check", "--connect"], ["retrain"], ["status"], ["plan"]):
        answer = type_(*command)
        about = "database: " if "--connect" in command else ""
        assert answer.status == 1
        assert f"error: {about}postgresql://me:***@127.0.0.1:9/x does not answer" in answer.talk
        assert "hint:  " in answer.talk
        assert "s3cret" not in answer.talk


@pytest.mark.fault(17)
@pytest.mark.parametrize("command", ["check --connect", "plan", "retrain", "serve", "status"])
def test_an_older_schema_is_refused_with_the_command_that_mends_it(
    configured: Path, command: str
) -> None:
    with sqlite3.connect(configured / "forecaster.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()

    answer = type_(*command.split())

    assert answer.status == 1
    assert "schema revision is" in answer.talk
    assert "hint:  run `forecaster db upgrade`" in answer.talk
    assert list(configured.glob("forecaster.db-*")) == []  # no connection is left open


@pytest.mark.fault(17)
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

    answer = type_("check", "--connect")

    assert answer.status == 1
    assert "not a valid SQLite database" in answer.talk


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


def test_windows_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(SystemExit, match="error: expected Linux or macOS, found Windows\nhint:  "):
        runpy.run_module("forecaster.__main__")
