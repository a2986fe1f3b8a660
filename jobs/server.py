"""The HTTP server: /metrics, /livez and /readyz, in a thread of its own."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from forecaster.config import ServerConfig
from forecaster.errors import ConfigError
from jobs.telemetry import Telemetry

Probe = Callable[[], list[str]]
"""Returns what is wrong; nothing is wrong when it is empty."""

MAX_CONNECTIONS = 64
IDLE_SECONDS = 5
STOP_SECONDS = 3.0


def application(telemetry: Telemetry, *, live: Probe, ready: Probe) -> Starlette:
    """Return the three pages. A probe answers 503 and lists its reasons when there are any."""

    def metrics(request: Request) -> Response:
        body, content_type = telemetry.expose(request.headers.get("accept", ""))
        return Response(body, media_type=None, headers={"content-type": content_type})

    def livez(_: Request) -> Response:
        return _answer(live())

    def readyz(_: Request) -> Response:
        return _answer(ready())

    def index(_: Request) -> Response:
        return PlainTextResponse("forecaster: /metrics /livez /readyz\n")

    pages = {"/": index, "/metrics": metrics, "/livez": livez, "/readyz": readyz}
    return Starlette(routes=[Route(path, page) for path, page in pages.items()])


def _answer(reasons: list[str]) -> Response:
    if reasons:
        return JSONResponse({"status": "not ok", "reasons": reasons}, status_code=503)
    return JSONResponse({"status": "ok"})


@dataclass(slots=True)
class Server:
    """A running server; `port` is the real one when the configured port is 0."""

    host: str
    port: int
    _server: uvicorn.Server
    _thread: threading.Thread = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def stop(self) -> None:
        """Stop accepting and wait a moment for requests under way."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)


def start(app: Starlette, config: ServerConfig) -> Server:
    """Bind and serve `app` in a daemon thread; ConfigError when the address cannot be had."""
    listener = _bind(config)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=int(STOP_SECONDS),
        )
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True
    )
    thread.start()
    return Server(config.host, listener.getsockname()[1], server, thread)


def _bind(config: ServerConfig) -> socket.socket:
    try:
        return socket.create_server((config.host, config.port), backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise ConfigError(
            [f"server.listen must be free, found {config.host}:{config.port}: {error.strerror}"],
            hint="set `listen` under [server], for example 127.0.0.1:8791",
        ) from error
