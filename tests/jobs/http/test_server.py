"""The HTTP server: three pages on a real socket."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from forecaster.config.settings import ServerConfig
from forecaster.errors import ConfigError
from jobs.http.server import Pages, Server, start
from jobs.telemetry.metrics import Telemetry


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
    running = start(pages(telemetry, health), ServerConfig(port=0))
    yield running
    running.stop()


def pages(telemetry: Telemetry, health: Health) -> Pages:
    return Pages(
        telemetry=telemetry,
        live=lambda: health.live,
        ready=lambda: health.ready,
        datasets=lambda: [{"name": "bikes", "state": "running"}],
    )


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

    assert (status, body) == (200, '{"status":"ok"}\n')


def test_a_reason_not_to_be_ready_is_503_and_told(server: Server, health: Health) -> None:
    health.ready = ["bikes has no model yet"]

    status, _, body = get(server, "/readyz")

    assert status == 503
    assert json.loads(body) == {"status": "not ready", "reasons": ["bikes has no model yet"]}
    assert get(server, "/livez")[0] == 200


def test_datasets_are_told_as_json(server: Server) -> None:
    status, content_type, body = get(server, "/datasets")

    assert (status, content_type) == (200, "application/json")
    assert json.loads(body) == [{"name": "bikes", "state": "running"}]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/metrics/", "/METRICS", "//", "/docs", "/livez/x"]
)
def test_other_paths_are_not_found(server: Server, path: str) -> None:
    assert get(server, path)[0] == 404


def test_a_page_is_only_read(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="405") as refused:
        urllib.request.urlopen(server.url + "/metrics", data=b"x", timeout=10)
    refused.value.close()


def test_a_taken_port_is_an_error_that_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken_port = ServerConfig(port=port)

        with pytest.raises(ConfigError, match=f"cannot listen on .*:{port}"):
            start(pages(Telemetry([]), Health()), taken_port)
