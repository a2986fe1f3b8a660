"""Check whether the service on this machine is alive: its /livez, and nothing else."""

import json
import ssl
import urllib.error
import urllib.request
from ipaddress import ip_address
from typing import Any

from forecaster.config.settings import ServerConfig
from forecaster.errors import RunError

ANSWERS_WITHIN = 5.0
"""Seconds; /livez waits for nothing."""
_HINT = "check the log of `forecaster serve`, and that it listens there: [server] listen"


def require_alive(server: ServerConfig) -> None:
    """Raise RunError unless the configured address answers /livez with 200."""
    url = f"{'http' if server.tls_certificate is None else 'https'}://{_here(server)}/livez"
    try:
        with _opener().open(url, timeout=ANSWERS_WITHIN):
            return
    except urllib.error.HTTPError as error:
        with error:
            reason = _reasons(error) or f"status {error.code}"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error) or type(error).__name__
    raise RunError(f"{url} did not return 200: {reason}", hint=_HINT)


def _here(server: ServerConfig) -> str:
    """Return the address of the server as this machine reaches it."""
    host = server.host
    try:
        address = ip_address(host)
    except ValueError:
        return f"{host}:{server.port}"
    if address.is_unspecified:  # it listens on all interfaces
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"


def _opener() -> urllib.request.OpenerDirector:
    """Return what asks directly, whatever proxy is set, and takes any certificate of ours."""
    context = ssl.create_default_context()
    context.check_hostname = False  # it is for the name that others use
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )


def _reasons(error: urllib.error.HTTPError) -> str:
    try:
        answer: Any = json.loads(error.read(10_000))
        return "; ".join(answer["reasons"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
