"""Limits how many connections the HTTP server holds, and for how long.

A client that sends nothing, a byte a second, half a TLS handshake, or that reads nothing, costs a
socket and no thread. A connection without a request or response for some seconds is closed, and at
the limit the one that was idle longest is: a client that sends its request at once always gets a
response. There is one request per connection (no keep-alive), so no client can pipeline thousands.
"""

import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MOST = 256
"""Open connections; a process may have 1 024 files, and needs some for its databases."""
QUEUE = 1024
"""Connections that wait to be accepted; beyond it clients try again after a second or more."""
IDLE_SECONDS = 10.0
"""Seconds for a handshake and a request, for an answer, and for taking it."""


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    since: float
    """When it was accepted, sent its request, or got its response."""
    is_served: bool = False

    @property
    def is_gone(self) -> bool:
        return self.connection.fileno() == -1

    def shut_down(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class ConnectionLimiter:
    """Tracks every connection from when it is accepted; used by one thread."""

    def __init__(self) -> None:
        self._clients: dict[object, _Client] = {}

    def register(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Register a new connection; at the limit another one is closed."""
        self.close_idle()
        if len(self._clients) >= MOST:
            longest = min(self._clients, key=self._rank)
            self._clients.pop(longest).shut_down()
        self._clients[address[:2]] = _Client(connection, time.monotonic())

    def close_idle(self) -> None:
        """Close connections that were idle for too long."""
        latest = time.monotonic() - IDLE_SECONDS
        for address, client in list(self._clients.items()):
            if client.since < latest:
                client.shut_down()
            if client.since < latest or client.is_gone:
                del self._clients[address]

    def watching(self, app: Application) -> Application:
        """Return `app` with its requests tracked here."""

        async def watched(scope: Message, receive: Receive, send: Send) -> None:
            client = scope.get("client")
            self._mark(client, is_served=True)
            try:
                await app(scope, receive, send)
            finally:
                self._mark(client, is_served=False)

        return watched

    def _mark(self, address: object, *, is_served: bool) -> None:
        client = self._clients.get(address)
        if client is not None:
            client.is_served, client.since = is_served, time.monotonic()

    def _rank(self, address: object) -> tuple[bool, float]:
        client = self._clients[address]
        return client.is_served, client.since


class Listener(socket.socket):
    """A listening socket that registers connections before anything is read from them."""

    limiter: ConnectionLimiter

    def listen(self, backlog: int = QUEUE, /) -> None:
        """Queue up to QUEUE connections, whatever backlog the server asks for."""
        super().listen(max(backlog, QUEUE))

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, as any socket does."""
        connection, address = super().accept()
        self.limiter.register(connection, address)
        return connection, address


def listener(host: str, port: int, limiter: ConnectionLimiter) -> Listener:
    """Bind and listen; OSError when the address is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=QUEUE)
    guarded = Listener(fileno=bound.detach())
    guarded.limiter = limiter
    return guarded
