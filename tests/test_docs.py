"""The documents tell the truth: every command, setting, metric and view, and nothing is old."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from sqlalchemy import Engine, inspect
from typer.testing import CliRunner

from forecaster import __version__
from forecaster.config.sample import SAMPLE
from forecaster.config.settings import (
    Config,
    DatasetConfig,
    DeadlineConfig,
    ModelConfig,
    RetentionConfig,
    ServerConfig,
    TrainingConfig,
)
from forecaster.experiments import rivals
from jobs.cli import app
from jobs.telemetry.metrics import Telemetry
from jobs.telemetry.registry import reference

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MARKS = ("<!-- generated: make golden -->\n", "<!-- end -->\n")
# How settings are spelled in the file where that is not the name of the field.
SPELLED = {
    "host": "listen",
    "port": "listen",
    "forecast_schedule": "forecast_cron",
    "retrain_schedule": "retrain_cron",
    "reconcile_schedule": "reconcile_cron",
    "prune_schedule": "prune_every",
}
IN_THE_TABLE_NAME = {"name", "datasets", "server", "retention", "model", "training", "deadlines"}


def commands() -> list[str]:
    """Return every command as it is typed, groups such as `forecaster db` before what they have."""
    group = typer.main.get_command(app)
    typed = ["forecaster"]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        typed.append(f"forecaster {name}")
        typed += [f"forecaster {name} {inner}" for inner in getattr(command, "commands", {})]
    return typed


def help_of(command: str) -> str:
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
    arguments = [*command.split()[1:], "--help"]
    return runner.invoke(app, arguments, prog_name="forecaster").stdout


def generated(document: str) -> str:
    """Return what stands between the marks of a document."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return text.split(MARKS[0])[1].split(MARKS[1])[0]


def regenerate(document: str, content: str) -> None:
    path = DOCS / document
    before, rest = path.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    path.write_text(before + MARKS[0] + content + MARKS[1] + after, encoding="utf-8")


@pytest.mark.parametrize("command", sorted({*commands()} - {"forecaster"}))
def test_every_command_is_in_the_table_of_commands(command: str) -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")

    assert re.search(rf"^\| `{command}[ `]", page, re.MULTILINE)


def test_the_page_of_commands_shows_the_help_of_each(request: pytest.FixtureRequest) -> None:
    content = "\n".join(
        f"## {command}\n\n```text\n{help_of(command)}```\n" for command in commands()
    )
    if request.config.getoption("--write-golden"):
        regenerate("reference/commands.md", content)

    assert generated("reference/commands.md") == content


@pytest.mark.parametrize(
    "name",
    [
        SPELLED.get(field.name, field.name)
        for kind in (
            Config,
            DatasetConfig,
            DeadlineConfig,
            ModelConfig,
            RetentionConfig,
            ServerConfig,
            TrainingConfig,
        )
        for field in fields(kind)
        if field.name not in IN_THE_TABLE_NAME
    ],
)
def test_every_setting_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", generated("reference/settings.md"))


def test_the_page_of_settings_shows_the_sample(request: pytest.FixtureRequest) -> None:
    content = f"```toml\n{SAMPLE}```\n"
    if request.config.getoption("--write-golden"):
        regenerate("reference/settings.md", content)

    assert generated("reference/settings.md") == content


def test_the_page_of_telemetry_shows_what_is_declared(request: pytest.FixtureRequest) -> None:
    content = reference(Telemetry([]).declared) + "\n"
    if request.config.getoption("--write-golden"):
        regenerate("reference/telemetry.md", content)

    assert generated("reference/telemetry.md") == content


def test_every_view_is_documented_with_its_columns(engine: Engine) -> None:
    page = (DOCS / "reference" / "views.md").read_text(encoding="utf-8")
    found = inspect(engine)

    for view in found.get_view_names():
        assert f"| `{view}` |" in page
        columns = ", ".join(column["name"] for column in found.get_columns(view))
        assert f"`{columns}`" in page


def test_the_page_of_backtests_names_every_option_and_baseline() -> None:
    page = (DOCS / "how-to" / "backtest.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app).commands["backtest"]  # type: ignore[attr-defined]
    options = [option for each in command.params for option in each.opts if option[:2] == "--"]

    assert [name for name in (*options, *rivals.NAMES) if name not in page] == []


def test_the_changelog_has_a_section_for_this_version() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "[Unreleased]"
    assert re.match(rf"\[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", headings[1])
