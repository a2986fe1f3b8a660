"""Who may see the pages, under which certificate, and who is warned."""

import base64
import logging
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forecaster.config.settings import ServerConfig
from forecaster.errors import ConfigError
from jobs.http.auth import is_authorized
from jobs.http.liveness import require_alive
from jobs.http.server import Pages, Server, start
from jobs.telemetry.metrics import Telemetry

LOCKED = ServerConfig(port=0, username="prometheus", password="sesame: ö")
Start = Callable[[ServerConfig], Server]


@pytest.fixture
def started() -> Iterator[Start]:
    """Start a server; it is gone after the test."""
    running: list[Server] = []

    def serve(config: ServerConfig) -> Server:
        telemetry = Telemetry(["bikes"])
        pages = Pages(telemetry=telemetry, live=list, ready=list)
        running.append(start(pages, config))
        return running[-1]

    yield serve
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """Two certificates for 127.0.0.1, each with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on PATH")
    return [_pair(tmp_path_factory.mktemp("tls"), name) for name in ("old", "new")]


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def get(server: Server, path: str, login: str = "", trust: Path | None = None) -> int:
    headers = {"Authorization": basic(login)} if login else {}
    context = None if trust is None else ssl.create_default_context(cafile=trust)
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def test_with_a_password_only_the_probes_are_open(started: Start) -> None:
    server = started(LOCKED)

    strangers = {path: get(server, path) for path in ("/", "/metrics", "/datasets", "/nowhere")}
    probes = {path: get(server, path) for path in ("/livez", "/readyz")}

    assert set(strangers.values()) == {401}
    assert set(probes.values()) == {200}
    assert get(server, "/metrics", "prometheus:sesame: ö") == 200
    assert get(server, "/metrics", "prometheus:sesame") == 401


def test_a_stranger_is_told_how_to_come_in(started: Start) -> None:
    server = started(LOCKED)

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(server.url + "/metrics", timeout=10)
    refused.value.close()

    assert refused.value.headers["www-authenticate"].startswith('Basic realm="forecaster"')


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Basic cHJvbWV0aGV1cw==",
        basic("prometheus:"),
        basic(":sesame: ö"),
        basic("prometheus:sesame: ö").replace("Basic", "Bearer"),
        basic("prometheus:sesame: ö") + "x",
        "Basic " + "A" * 10_000,
        "Basic \udcff",
    ],
)
def test_nothing_but_the_password_lets_anybody_in(header: str | None) -> None:
    assert not is_authorized(LOCKED, header)


def test_the_password_is_in_no_representation() -> None:
    assert "sesame" not in repr(LOCKED)


def test_a_certificate_is_shown_and_read_again_when_it_changes(
    started: Start, pairs: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    (old, _), (new, _) = pairs
    place(pairs[0], files)
    server = started(ServerConfig(port=0, tls_certificate=str(files[0]), tls_key=str(files[1])))

    before = get(server, "/livez", trust=old)
    place(pairs[1], files)

    assert server.url.startswith("https://")
    assert before == 200
    assert eventually(lambda: is_trusted(server, new))


def test_whether_it_lives_is_asked_over_tls_whatever_name_the_certificate_has(
    pairs: list[tuple[Path, Path]], started: Callable[[ServerConfig], Server]
) -> None:
    certificate, key = map(str, pairs[0])
    server = started(ServerConfig(port=0, tls_certificate=certificate, tls_key=key))

    require_alive(
        ServerConfig(host="localhost", port=server.port, tls_certificate=certificate, tls_key=key)
    )


def test_a_bad_new_certificate_changes_nothing(
    started: Start, pairs: list[tuple[Path, Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    place(pairs[0], files)
    server = started(ServerConfig(port=0, tls_certificate=str(files[0]), tls_key=str(files[1])))

    place((pairs[1][0], pairs[0][1]), files)

    assert eventually(lambda: "could not reload the TLS certificate" in caplog.text)
    assert is_trusted(server, pairs[0][0])


def place(pair: tuple[Path, Path], files: tuple[Path, Path]) -> None:
    for source, target in zip(pair, files, strict=True):
        shutil.copyfile(source, target)


def is_trusted(server: Server, certificate: Path) -> bool:
    try:
        return get(server, "/livez", trust=certificate) == 200
    except urllib.error.URLError:
        return False


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return condition()


@pytest.mark.parametrize("broken", ["missing", "garbage", "mixed", "encrypted"])
def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(
    started: Start, pairs: list[tuple[Path, Path]], tmp_path: Path, broken: str
) -> None:
    certificate, key = pairs[0]
    if broken == "missing":
        key = tmp_path / "none.key"
    elif broken == "garbage":
        certificate = tmp_path / "garbage.crt"
        certificate.write_text("no certificate")
    elif broken == "mixed":
        key = pairs[1][1]
    else:
        encrypted = tmp_path / "encrypted.key"
        command = ["openssl", "pkey", "-aes256", "-passout", "pass:x", "-in", str(key)]
        subprocess.run([*command, "-out", str(encrypted)], check=True, capture_output=True)
        key = encrypted

    with pytest.raises(ConfigError, match="cannot load server") as refused:
        started(ServerConfig(port=0, tls_certificate=str(certificate), tls_key=str(key)))

    assert refused.value.hint


@pytest.mark.parametrize(
    ("host", "password", "warned"),
    [("127.0.0.1", None, False), ("0.0.0.0", None, True), ("0.0.0.0", "x", True)],
)
def test_pages_that_are_open_to_the_world_are_warned_of(
    started: Start, caplog: pytest.LogCaptureFixture, host: str, password: str | None, warned: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        started(ServerConfig(host=host, port=0, username=password, password=password))

    assert ("are unprotected" in caplog.text) == warned
    assert ("password and" in caplog.text) == (warned and password is None)
