"""A network that fails on command: a TCP proxy between a client and a server on this machine."""

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Literal, Self

Mode = Literal["pass", "blackhole", "reset", "slow", "late"]

_PIECE = 65_536
_LINGER = struct.pack("ii", 1, 0)  # close() then resets
_SLOW_BYTES, _SLOW_PAUSE = 1_000, 0.1
_LATE = 10.0
_COMMIT = b"Q\0\0\0\x0bCOMMIT"


class Proxy:
    """Forwards to `port` as `mode` says, which may change at any time.

    `pass` forwards, `blackhole` takes bytes and forwards none, `reset` breaks every connection,
    `slow` lets 10 kB a second through, `late` holds every piece back for 10 s. After
    `swallow_after` bytes from the server the mode becomes `blackhole` by itself. The connection of
    the COMMIT with the number `cut_at_commit` breaks before its answer comes.
    """

    def __init__(self, port: int) -> None:
        self.mode: Mode = "pass"
        self.swallow_after: int | None = None
        self.cut_at_commit: int | None = None
        self.commits = 0
        """How many clients have ever sent."""
        self.forwarded = 0
        """Bytes that came from the server."""
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._doomed: socket.socket | None = None
        self._is_open = True
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many clients have ever connected."""
        return len(self._sockets) // 2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while self._is_open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if target.getsockname()[1] == self.port:
                    self._count(len(piece))
                elif piece.startswith(_COMMIT):
                    self._count_commit(source)
                self._send(piece, target)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, size: int) -> None:
        self.forwarded += size
        if self.swallow_after is not None and self.forwarded > self.swallow_after:
            self.mode = "blackhole"

    def _count_commit(self, client: socket.socket) -> None:
        self.commits += 1
        if self.commits == self.cut_at_commit:
            self._doomed = client

    def _send(self, piece: bytes, target: socket.socket) -> None:
        if target is self._doomed:
            _reset(target)
        elif self.mode == "reset":
            for each in self._sockets:
                _reset(each)
        else:
            self._pass_on(piece, target)

    def _pass_on(self, piece: bytes, target: socket.socket) -> None:
        match self.mode:
            case "pass":
                target.sendall(piece)
            case "slow":
                _drip(piece, target)
            case "late":
                time.sleep(_LATE)
                target.sendall(piece)
            case "blackhole":
                pass


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    connection.close()


def _drip(piece: bytes, target: socket.socket) -> None:
    for at in range(0, len(piece), _SLOW_BYTES):
        target.sendall(piece[at : at + _SLOW_BYTES])
        time.sleep(_SLOW_PAUSE)
