"""Whoever asks is answered soon, whatever else is connected to the port."""

import random
import resource
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from forecaster.config.settings import ServerConfig
from jobs.http import connection_limit
from jobs.http.server import Pages, Server, start
from jobs.telemetry.metrics import Telemetry
from tests.jobs.http.test_auth import pairs
from tests.patience import PATIENCE

__all__ = ["pairs"]

CLIENTS = 1000
FEW = 60
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
Client = Callable[[Server], socket.socket]


@pytest.fixture(autouse=True)
def nobody_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is kept out by others stays kept out."""
    monkeypatch.setattr(connection_limit, "IDLE_SECONDS", 10 * PATIENCE)


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """Both ends of every connection are files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def serve(config: ServerConfig) -> Server:
    names = [f"dataset {number}" for number in range(20)]
    return start(Pages(telemetry=Telemetry(names), live=list, ready=list), config)


@pytest.fixture
def server() -> Iterator[Server]:
    running = serve(ServerConfig(port=0))
    yield running
    running.stop()


def connected(server: Server, *sent: bytes) -> socket.socket:
    client = socket.create_connection((server.host, server.port), timeout=10)
    for part in sent:
        with suppress(OSError):  # it may have been shown out before it said all
            client.sendall(part)
    return client


def half_closed(server: Server) -> socket.socket:
    client = connected(server, REQUEST[:10])
    client.shutdown(socket.SHUT_WR)
    return client


def unread(server: Server) -> socket.socket:
    """Asks for more than the buffers of two sockets hold, and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((server.host, server.port))
    client.setblocking(False)
    with suppress(OSError):
        client.send(REQUEST * 500)
    return client


def garbage(server: Server) -> socket.socket:
    return connected(server, random.Random(server.port).randbytes(4096))


CLIENTS_OF: dict[str, Client] = {
    "half requests": lambda server: connected(server, REQUEST[:-2]),
    "garbage": garbage,
    "a header without end": lambda server: connected(server, REQUEST[:-2], b"a: " + b"b" * 300_000),
    "many headers": lambda server: connected(server, REQUEST[:-2], b"a: b\r\n" * 50_000),
    "a body that never comes": lambda server: connected(
        server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 100_000
    ),
    "half-closed": half_closed,
    "unread answers": unread,
    "a TLS handshake": lambda server: connected(
        server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"
    ),
}


def scrape(server: Server, context: ssl.SSLContext | None = None) -> None:
    """Ask, and be answered though nobody else leaves for being slow."""
    url = f"{server.url}/metrics"
    with urllib.request.urlopen(url, timeout=PATIENCE, context=context) as answer:
        assert b"forecaster_build_info" in answer.read()


@pytest.mark.fault(34)
def test_a_thousand_idle_clients_do_not_keep_the_scraper_out(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(connected(server))

        for _ in range(3):
            scrape(server)


@pytest.mark.fault(34)
@pytest.mark.parametrize("client", CLIENTS_OF.values(), ids=CLIENTS_OF)
def test_clients_that_misbehave_do_not_keep_the_scraper_out(server: Server, client: Client) -> None:
    with ExitStack() as stack:
        for _ in range(FEW):
            stack.enter_context(client(server))

        for _ in range(3):
            scrape(server)


@pytest.mark.fault(34)
def test_more_clients_than_it_holds_that_misbehave_are_shown_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limit, "MOST", 20)

    with ExitStack() as stack:
        for client in CLIENTS_OF.values():
            for _ in range(20):
                stack.enter_context(client(server))

        for _ in range(3):
            scrape(server)


@pytest.mark.fault(34)
def test_a_byte_at_a_time_is_too_slow(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limit, "IDLE_SECONDS", 1.0)
    slow = connected(server)
    dripping = threading.Thread(target=drip, args=(slow,))

    dripping.start()
    scrape(server)
    dripping.join(20)
    slow.close()

    assert not dripping.is_alive()


def drip(client: socket.socket) -> None:
    """Send a request so slowly that it takes minutes, until the other end has had enough."""
    with suppress(OSError):
        for byte in REQUEST * 100:
            client.sendall(bytes([byte]))
            time.sleep(0.1)


@pytest.mark.fault(34)
@pytest.mark.parametrize("client", CLIENTS_OF.values(), ids=CLIENTS_OF)
def test_whoever_waits_for_too_long_is_shown_out(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limit, "IDLE_SECONDS", 0.3)

    with client(server) as waiting:
        assert is_left(waiting)


def is_left(client: socket.socket) -> bool:
    """Tell whether the other end goes away."""
    client.setblocking(True)
    client.settimeout(15)
    with suppress(ConnectionError):
        while client.recv(65536):
            pass
    return True


@pytest.mark.fault(34)
def test_handshakes_that_never_end_do_not_keep_the_scraper_out(
    pairs: list[tuple[Path, Path]],
) -> None:
    certificate, key = pairs[0]
    config = ServerConfig(port=0, tls_certificate=str(certificate), tls_key=str(key))
    trusting = ssl.create_default_context(cafile=certificate)
    server = serve(config)

    with ExitStack() as stack:
        for number in range(CLIENTS):
            hello = CLIENTS_OF["a TLS handshake"] if number % 2 else connected
            stack.enter_context(hello(server))
        for _ in range(3):
            scrape(server, trusting)
    server.stop()
