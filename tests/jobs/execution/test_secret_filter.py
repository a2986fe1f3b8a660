"""A canary for a password: it sings on no surface, whatever goes wrong."""

import io
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from sqlalchemy import Engine

from forecaster.config.file import parse
from forecaster.config.settings import ServerConfig
from forecaster.errors import DataError, StoreError
from forecaster.store.connection.engine import reading
from forecaster.store.state import run_history
from forecaster.times.schedules import Every
from jobs.execution import secret_filter
from jobs.execution.job import Job
from jobs.execution.log_lines import JsonFormatter, TextFormatter
from jobs.execution.runner import run_job
from jobs.http.server import Pages, start
from jobs.telemetry.metrics import Telemetry
from tests.jobs.small import DATASET, HOUR, fixed, hour
from tests.jobs.terminal.terminal import type_

pytestmark = pytest.mark.fault(20)

PASSWORD = "Zq%7@k/9:w'\"ü$x"
ENCODED = quote(PASSWORD, safe="")
OTHER = "Kj#=&4+Zq?v"
SONG = ("Zq", "k/9", "k%2F9", "k%2f9", "Kj", "hunter2")
CONFIG = """\
database_url = "postgresql://me:${{PASSWORD}}@127.0.0.1:{port}/x"
[server]
listen = "127.0.0.1:0"
username = "prometheus"
password_file = "{folder}/http"
[datasets.bikes]
step = "1h"
horizon = "6h"
query = "SELECT 1"
source_url_file = "{folder}/source"
[datasets.trams]
step = "1h"
horizon = "6h"
query = "SELECT 1"
source_url = "sqlite:///{folder}/no.db?passphrase=hunter2"
"""


@pytest.fixture
def confided(folder: Path, monkeypatch: pytest.MonkeyPatch, free_port: int) -> Path:
    """A configuration full of secrets, where nothing answers."""
    (folder / "http").write_text("Zq-http-password\n")
    other = quote(OTHER, safe="")
    (folder / "source").write_text(f"postgresql://me:{other}@127.0.0.1:{free_port}/x")
    (folder / "forecaster.toml").write_text(CONFIG.format(port=free_port, folder=folder))
    monkeypatch.setenv("PASSWORD", ENCODED)
    return folder


def is_silent(text: str) -> bool:
    return not any(note in text for note in SONG)


@pytest.mark.usefixtures("confided")
@pytest.mark.parametrize(
    "command",
    ["config", "check", "check --json", "check --connect", "check --data --json", "plan", "status",
     "retrain", "forecast", "models list bikes", "db check", "db upgrade"],
)  # fmt: skip
def test_no_command_repeats_a_password(command: str) -> None:
    answer = type_(*command.split())

    assert answer.status in (0, 1)
    assert is_silent(answer.data + answer.talk)
    assert answer.data + answer.talk != ""


def test_a_wrong_configuration_repeats_none_either(confided: Path) -> None:
    config = confided / "forecaster.toml"
    for mistake in ("//me:", "me:${PASSWORD}@", "${PASSWORD}@127"):
        text = config.read_text()
        config.write_text(text.replace(mistake, mistake[::-1] + "@" + mistake))
        answers = [type_("check"), type_("check", "--json")]
        config.write_text(text)

        assert {answer.status for answer in answers} == {2}
        assert is_silent("".join(answer.data + answer.talk for answer in answers))


def kept() -> list[str]:
    """Errors as a driver, a library or we may raise them, once the configuration was read."""
    url = f"postgresql://me:{ENCODED}@db/x"
    config = parse(f'database_url = "{url}"\n', {}, read_file=str)
    secret_filter.keep(config)
    return [url, PASSWORD, repr(PASSWORD), f"host=db password='{PASSWORD}'", json.dumps(PASSWORD)]


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
@pytest.mark.parametrize("kind", [RuntimeError, DataError, StoreError])
def test_a_job_that_fails_leaves_no_secret_in_its_row_or_in_the_log(
    engine: Engine, kind: type[Exception], formatter: type[logging.Formatter]
) -> None:
    log, texts = logged(formatter()), kept()

    def fail(*_: object) -> NoReturn:
        try:
            raise ValueError(texts[1])
        except ValueError as error:
            raise kind(" and ".join(texts)) from error

    job = Job(name="prune", schedule=lambda _: Every(HOUR), run=fail, group="prune")
    run_job(job, engine, DATASET, tick=hour(5), clock=fixed(hour(5)), observe=lambda _: None)

    with reading(engine) as conn:
        run = run_history.latest(conn, "prune", DATASET.name)
    assert run is not None
    assert "***" in (run.error or "")
    assert is_silent(run.error or "")
    assert "***" in log.getvalue()
    assert is_silent(log.getvalue())


def logged(formatter: logging.Formatter) -> io.StringIO:
    """What the service would write to its log."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    logging.getLogger("forecaster").handlers = [handler]
    return written


def test_no_page_says_a_secret() -> None:
    texts = kept()
    pages = Pages(
        telemetry=Telemetry(["bikes"]),
        live=lambda: texts,
        ready=lambda: texts,
        datasets=lambda: [{"dataset": "bikes", "reason": text} for text in texts],
    )

    server = start(pages, ServerConfig(port=0))
    answers = [body(f"{server.url}/{page}") for page in ("livez", "readyz", "datasets")]
    server.stop()

    assert is_silent("".join(answers))
    assert all("***" in answer for answer in answers)


def body(url: str) -> str:
    try:
        answer = urlopen(url, timeout=10)
    except HTTPError as error:
        answer = error
    with answer:
        return str(answer.read().decode())


def test_the_traceback_of_a_bug_has_no_secret() -> None:
    script = (
        "import threading\n"
        "from forecaster.config.file import parse\n"
        "from jobs.execution import log_lines, secret_filter\n"
        f"url = {f'postgresql://me:{ENCODED}@db/x'!r}\n"
        "config = parse(f'database_url = \"{url}\"', {}, read_file=str)\n"
        "secret_filter.keep(config); secret_filter.redact_tracebacks()\n"
        "log_lines.log_to_stderr()\n"
        "def bug(): raise RuntimeError(config)\n"
        "thread = threading.Thread(target=bug); thread.start(); thread.join()\n"
        "bug()"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.count("RuntimeError: Config(database_url='postgresql+psycopg://me:***@") == 2
    assert is_silent(done.stderr.replace(script, ""))


@pytest.mark.slow
def test_a_service_without_its_database_says_none_in_its_log(confided: Path) -> None:
    log = confided / "log"
    with log.open("w") as written:
        service = subprocess.Popen([sys.executable, "-m", "jobs", "serve"], stderr=written)
        with pytest.raises(subprocess.TimeoutExpired):
            service.wait(12)
        service.send_signal(signal.SIGTERM)
        service.wait(30)

    assert "me:***@127.0.0.1" in log.read_text()
    assert is_silent(log.read_text())
