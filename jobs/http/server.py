"""The HTTP server: /metrics, /datasets, /livez and /readyz, in a thread of its own.

Requests are answered whatever else is connected: `jobs.http.connection_limit` limits connections,
no page waits long for the database, and /livez never queries it.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from forecaster.config.settings import ServerConfig
from forecaster.errors import ConfigError
from jobs.execution.reports import Json
from jobs.execution.secret_filter import redacted
from jobs.http.auth import Certificate, is_authorized
from jobs.http.connection_limit import (
    Application,
    ConnectionLimiter,
    Message,
    Receive,
    Send,
    listener,
)
from jobs.telemetry.metrics import Telemetry

Probe = Callable[[], list[str]]
"""Returns what is wrong; nothing is wrong when it is empty."""

OPEN = ("/livez", "/readyz")
"""Pages for probes, which have no password."""
AT_ONCE = 64
"""Connections accepted in one go, before any is closed."""
FRESH = 1.0
"""Seconds for which a page of metrics is as good as a new one."""
STOP_SECONDS = 1.0
LOGGED = logging.ERROR

log = logging.getLogger("forecaster")
logging.getLogger("uvicorn").setLevel(LOGGED)  # malformed requests are not worth a log line


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What the endpoints return; each may be called from any thread and must not block for long."""

    telemetry: Telemetry
    live: Probe
    """Called in the thread of the server: it must not wait."""
    ready: Probe
    datasets: Callable[[], Sequence[Json] | None] = tuple
    """None while the database does not respond."""


class _Exposition:
    """The exposed metrics, rendered once for requests at about the same time."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._made, self._accept = float("-inf"), ""
        self._page = (b"", "")

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the page that suits the header `accept`, and its content type."""
        with self._lock:
            if accept != self._accept or time.monotonic() - self._made > FRESH:
                self._page = self._telemetry.expose(accept)
                self._accept, self._made = accept, time.monotonic()
            return self._page


def application(pages: Pages) -> Starlette:
    """Return the pages. A probe answers 503 and lists its reasons when there are any."""

    exposition = _Exposition(pages.telemetry)

    def metrics(request: Request) -> Response:
        body, content_type = exposition.page(request.headers.get("accept", ""))
        return Response(body, media_type=None, headers={"content-type": content_type})

    async def livez(_: Request) -> Response:
        return _answer(pages.live(), "not alive")

    def readyz(_: Request) -> Response:
        return _answer(pages.ready(), "not ready")

    def datasets(_: Request) -> Response:
        documents = pages.datasets()
        if documents is None:
            silence = ["no response from the database"]
            return _answer(pages.ready() or silence, "unknown")
        return RedactedResponse([*documents])

    async def index(_: Request) -> Response:
        return PlainTextResponse("forecaster: /metrics /datasets /livez /readyz\n")

    served = {
        "/": index, "/metrics": metrics, "/datasets": datasets, "/livez": livez, "/readyz": readyz
    }  # fmt: skip
    app = Starlette(routes=[Route(path, page) for path, page in served.items()])
    app.router.redirect_slashes = False
    return app


class RedactedResponse(JSONResponse):
    """A document without secrets."""

    def render(self, content: object) -> bytes:
        """Return a line of JSON in UTF-8."""
        return redacted(super().render(content).decode() + "\n").encode()


def _answer(reasons: list[str], trouble: str) -> Response:
    if reasons:
        return RedactedResponse({"status": trouble, "reasons": reasons}, status_code=503)
    return RedactedResponse({"status": "ok"})


def guarded(app: Application, config: ServerConfig) -> Application:
    """Return `app` behind the password of the settings, but for the probes."""

    async def checked(scope: Message, receive: Receive, send: Send) -> None:
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        if scope["path"] in OPEN or is_authorized(config, authorization):
            await app(scope, receive, send)
            return
        challenge = {"WWW-Authenticate": 'Basic realm="forecaster", charset="UTF-8"'}
        refusal = PlainTextResponse("authentication required\n", 401, challenge)
        await refusal(scope, receive, send)

    return checked


@dataclass(slots=True)
class Server:
    """A running server; `port` is the real one when the configured port is 0."""

    host: str
    port: int
    scheme: str
    _server: uvicorn.Server
    _thread: threading.Thread = field(repr=False)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def stop(self) -> None:
        """Stop accepting and wait a moment for running requests."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)


def start(pages: Pages, config: ServerConfig) -> Server:
    """Bind and serve in a daemon thread; ConfigError when address or certificate is unusable."""
    certificate = None
    if config.tls_certificate is not None and config.tls_key is not None:
        certificate = Certificate(config.tls_certificate, config.tls_key)
    limiter = ConnectionLimiter()
    entrance = _bind(config, limiter)
    _warn_if_unprotected(config)
    server = uvicorn.Server(_settings(pages, config, limiter, certificate))
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [entrance]}, name="server", daemon=True
    )
    thread.start()
    scheme = "http" if certificate is None else "https"
    return Server(config.host, entrance.getsockname()[1], scheme, server, thread)


def _settings(
    pages: Pages, config: ServerConfig, limiter: ConnectionLimiter, certificate: Certificate | None
) -> uvicorn.Config:
    async def every_second() -> None:
        limiter.close_idle()
        if certificate is not None:
            certificate.refresh()

    settings = uvicorn.Config(
        limiter.watching(guarded(application(pages), config)),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=LOGGED,
        access_log=False,
        server_header=False,
        headers=[("connection", "close")],  # one request per connection
        proxy_headers=False,
        backlog=AT_ONCE,
        timeout_notify=0,
        callback_notify=every_second,
        timeout_graceful_shutdown=int(STOP_SECONDS),
    )
    settings.load()
    settings.ssl = None if certificate is None else certificate.context
    return settings


def _bind(config: ServerConfig, limiter: ConnectionLimiter) -> socket.socket:
    try:
        return listener(config.host, config.port, limiter)
    except OSError as error:
        raise ConfigError(
            [f"cannot listen on {config.host}:{config.port}: {error.strerror}"],
            hint="set `listen` under [server] to a free address, for example 127.0.0.1:8791",
        ) from error


def _warn_if_unprotected(config: ServerConfig) -> None:
    lacking = [
        name
        for name, value in (("password", config.password), ("tls_certificate", config.tls_key))
        if value is None
    ]
    if lacking and not _is_loopback(config.host):
        log.warning(
            "HTTP endpoints on %s are unprotected: set %s under [server]",
            config.host,
            " and ".join(lacking),
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
