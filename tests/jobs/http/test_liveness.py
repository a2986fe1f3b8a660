"""`forecaster status --live`, with which the image's HEALTHCHECK asks the service alone."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecaster.config.settings import ServerConfig
from jobs.http.server import Pages, Server, start
from jobs.telemetry.metrics import Telemetry
from tests.conftest import ROOT
from tests.jobs.terminal.terminal import Answer, type_

DATABASE = 'database_url = "postgresql://nobody@127.0.0.1:1/down"\n'


@pytest.fixture
def lacking() -> list[str]:
    """What is wrong with the service, as the test says."""
    return []


@pytest.fixture
def server(lacking: list[str]) -> Iterator[Server]:
    """A service that lives and is not ready: its database is down."""
    pages = Pages(telemetry=Telemetry([]), live=lambda: lacking, ready=lambda: ["no answer"])
    running = start(pages, ServerConfig(port=0))
    yield running
    running.stop()


def health_check() -> list[str]:
    """Return the words that the image's HEALTHCHECK types."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    [line] = re.findall(r"^HEALTHCHECK .*$", text, re.MULTILINE)
    command: list[str] = json.loads(line.partition("CMD ")[2])
    return command


def ask(folder: Path, settings: str) -> Answer:
    config = folder / "forecaster.toml"
    config.write_text(settings)
    name, *words = health_check()
    assert name == "forecaster"
    return type_(*words, "--config", str(config))


def test_the_image_is_healthy_while_its_service_lives_whatever_the_database_does(
    folder: Path, server: Server
) -> None:
    answer = ask(folder, f'{DATABASE}server.listen = "127.0.0.1:{server.port}"\n')

    assert (answer.status, answer.data, answer.talk) == (0, "", "")


def test_a_service_that_is_not_alive_says_why(
    folder: Path, server: Server, lacking: list[str]
) -> None:
    lacking.append("scheduler: no heartbeat for 31 s")

    answer = ask(folder, f'{DATABASE}server.listen = "127.0.0.1:{server.port}"\n')

    assert answer.status == 1
    assert "did not return 200: scheduler: no heartbeat for 31 s" in answer.talk


def test_where_nothing_listens_nothing_is_alive(folder: Path, free_port: int) -> None:
    answer = ask(folder, f'{DATABASE}server.listen = "127.0.0.1:{free_port}"\n')

    assert answer.status == 1
    assert f"http://127.0.0.1:{free_port}/livez did not return 200" in answer.talk


@pytest.mark.parametrize(
    "settings",
    [
        'server.listen = "0.0.0.0:{port}"\n',
        'server.listen = "0.0.0.0:{port}"\ndatabase_url = "${{NOT_SET}}"\n',
        'server.listen = "localhost:{port}"\nserver.username = "x"\n',
        'server.listen = "127.0.0.1:{port}"\nno_such_setting = 1\n',
    ],
)
def test_settings_that_are_wrong_by_now_do_not_end_what_runs(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    answer = ask(folder, settings.format(port=server.port))

    assert answer.status == 0, answer.talk


def test_a_file_that_is_no_toml_leaves_the_default_address(folder: Path) -> None:
    answer = ask(folder, "= broken")

    assert answer.status in (0, 1)  # something may listen there
    assert "TOML" not in answer.talk


def test_signals_reach_the_service_in_the_image() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert shlex.split(re.findall(r"^STOPSIGNAL (.*)$", text, re.MULTILINE)[0]) == ["SIGTERM"]
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0]) == ["forecaster"]
