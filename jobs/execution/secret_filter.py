"""Redacts secrets from everything that the program writes.

`keep` registers the secrets of a configuration for as long as the process runs: an old one may
still be part of an exception. Log lines, tracebacks, run rows, HTTP responses and the output of
commands go through `redacted`.
"""

import sys
import threading
import traceback
from types import TracebackType

from forecaster.config.redaction import Secrets, secrets_of
from forecaster.config.settings import Config

_lock = threading.Lock()
_secrets = Secrets()


def keep(config: Config) -> None:
    """Redact the secrets of `config` from now on."""
    global _secrets
    with _lock:
        _secrets = _secrets.with_more(secrets_of(config))


def redacted(text: str) -> str:
    """Return `text` with registered secrets and passwords in URLs redacted."""
    return _secrets.hide(text)


def redact_tracebacks() -> None:
    """Redact the traceback of an exception that ends the program."""
    sys.excepthook = _show


def _show(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))
