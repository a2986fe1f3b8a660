"""The doorman: how many connections the HTTP server holds, and for how long.

A client that sends nothing, a byte a second, half a TLS handshake, or that reads nothing, costs a
socket and no thread. Whoever neither asks nor is answered for some seconds has to leave, and where
it is full, the one who has been idle longest makes room: whoever asks at once is always answered,
one question on each connection, so that nobody can ask a thousand of them in one breath.
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
PATIENCE = 10.0
"""Seconds for a handshake and a request, for an answer, and for taking it."""


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    since: float
    """When it came, began to ask, or was answered."""
    is_served: bool = False

    @property
    def is_gone(self) -> bool:
        return self.connection.fileno() == -1

    def show_out(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class ConnectionLimiter:
    """Knows every connection from when it is accepted; used by one thread."""

    def __init__(self) -> None:
        self._guests: dict[object, _Client] = {}

    def let_in(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Take note of a new connection; where it is full another one has to leave."""
        self.look_round()
        if len(self._guests) >= MOST:
            longest = min(self._guests, key=self._rank)
            self._guests.pop(longest).show_out()
        self._guests[address[:2]] = _Client(connection, time.monotonic())

    def look_round(self) -> None:
        """Show everybody out who has been here for too long."""
        latest = time.monotonic() - PATIENCE
        for address, guest in list(self._guests.items()):
            if guest.since < latest:
                guest.show_out()
            if guest.since < latest or guest.is_gone:
                del self._guests[address]

    def watching(self, app: Application) -> Application:
        """Return `app`, which this doorman sees at work: one answer to each client."""

        async def watched(scope: Message, receive: Receive, send: Send) -> None:
            async def send_last(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                await send(message)

            client = scope.get("client")
            self._mark(client, is_served=True)
            try:
                await app(scope, receive, send_last)
            finally:
                self._mark(client, is_served=False)

        return watched

    def _mark(self, client: object, *, is_served: bool) -> None:
        guest = self._guests.get(tuple(client) if isinstance(client, list | tuple) else client)
        if guest is not None:
            guest.is_served, guest.since = is_served, time.monotonic()

    def _rank(self, address: object) -> tuple[bool, float]:
        guest = self._guests[address]
        return guest.is_served, guest.since


class Listener(socket.socket):
    """A listening socket whose connections a doorman sees before anything is read of them."""

    limiter: ConnectionLimiter

    def listen(self, backlog: int = QUEUE, /) -> None:
        """Let a whole crowd wait at the door, however few come in at a time."""
        super().listen(max(backlog, QUEUE))

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, as any socket does."""
        connection, address = super().accept()
        self.limiter.let_in(connection, address)
        return connection, address


def listener(host: str, port: int, limiter: ConnectionLimiter) -> Listener:
    """Bind and listen; OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=QUEUE)
    guarded = Listener(fileno=bound.detach())
    guarded.limiter = limiter
    return guarded
