"""The HTTP server: three pages on a real socket."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from forecaster.config import ServerConfig
from forecaster.errors import ConfigError
from jobs.server import Server, application, start
from jobs.telemetry import Telemetry


class Health:
    """What is wrong, as the test says."""

    def __init__(self) -> None:
        self.live: list[str] = []
        self.ready: list[str] = []


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(["bikes"])


@pytest.fixture
def server(telemetry: Telemetry, health: Health) -> Iterator[Server]:
    app = application(telemetry, live=lambda: health.live, ready=lambda: health.ready)
    running = start(app, ServerConfig(port=0))
    yield running
    running.stop()


def get(server: Server, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    request = urllib.request.Request(server.url + path, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read().decode()


def test_metrics_are_served_as_prometheus_text(server: Server) -> None:
    status, content_type, body = get(server, "/metrics")

    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "forecaster_build_info" in body


def test_metrics_are_served_as_openmetrics_to_who_asks(server: Server) -> None:
    _, content_type, body = get(server, "/metrics", "application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_healthy_program_answers_200(server: Server, path: str) -> None:
    status, _, body = get(server, path)

    assert (status, json.loads(body)) == (200, {"status": "ok"})


def test_a_reason_not_to_be_ready_is_503_and_told(server: Server, health: Health) -> None:
    health.ready = ["bikes has no model yet"]

    status, _, body = get(server, "/readyz")

    assert status == 503
    assert json.loads(body)["reasons"] == ["bikes has no model yet"]
    assert get(server, "/livez")[0] == 200


def test_other_paths_are_not_found(server: Server) -> None:
    assert get(server, "/etc/passwd")[0] == 404


def test_a_taken_port_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app = application(Telemetry([]), live=lambda: [], ready=lambda: [])

        with pytest.raises(ConfigError, match=f"server.listen must be free, found .*:{port}"):
            start(app, ServerConfig(port=port))


def test_idle_clients_do_not_keep_the_scraper_out(server: Server) -> None:
    idle = [socket.create_connection((server.host, server.port)) for _ in range(20)]

    status, _, _ = get(server, "/metrics")

    for client in idle:
        client.close()
    assert status == 200
