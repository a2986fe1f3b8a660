"""The log of the service on stderr, as text or as lines of JSON, without secrets."""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from jobs.execution.reports import Json
from jobs.execution.secret_filter import redacted

log = logging.getLogger("forecaster")
_context: ContextVar[Mapping[str, Json] | None] = ContextVar("context", default=None)


@dataclass(frozen=True, slots=True)
class Event:
    """A message of the log with fields; `str` is a line `message key=value …`."""

    message: str
    fields: Mapping[str, Json] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the line: dotted names for nested fields, no lists and no nulls."""
        return " ".join([self.message, *(f"{name}={text}" for name, text in _flat(self.fields))])


@contextmanager
def context(**fields: Json) -> Iterator[None]:
    """Add `fields` to every line of JSON that this thread logs in the block."""
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class TextFormatter(logging.Formatter):
    """A record as text, its traceback on lines of its own."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record without secrets."""
        return redacted(super().format(record))


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record without secrets, which are redacted before they can be escaped."""
        event = record.msg if isinstance(record.msg, Event) else Event(record.getMessage())
        line: dict[str, Json] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": event.message,
            **(_context.get() or {}),
            **event.fields,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(_redacted(line))


class LogFormat(StrEnum):
    """How lines of the log are written."""

    text = "text"
    json = "json"


def log_to_stderr(form: LogFormat = LogFormat.text) -> None:
    """Write log lines with a UTC clock, and exceptions that end threads among them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form is LogFormat.json else TextFormatter())
    logging.getLogger().handlers = [handler]
    log.setLevel(logging.INFO)
    threading.excepthook = _log_crash


def _log_crash(ended: threading.ExceptHookArgs) -> None:
    name = "a thread" if ended.thread is None else f"thread {ended.thread.name}"
    log.critical("%s crashed", name, exc_info=ended.exc_value)


def _redacted(value: Json) -> Json:
    match value:
        case str():
            return redacted(value)
        case list():
            return [_redacted(inner) for inner in value]
        case dict():
            return {redacted(name): _redacted(inner) for name, inner in value.items()}
    return value


def _flat(fields: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        path = prefix + _word(name)  # which may be the key of a series
        match value:
            case None | list():
                continue
            case dict():
                yield from _flat(value, f"{path}.")
            case float():
                yield path, f"{value:.4g}"
            case _:
                yield path, _word(str(value))


def _word(text: str) -> str:
    """Return `text` as one word of one line, whatever is in it."""
    is_plain = text and text.isprintable() and not set(text) & set(' ="')
    return text if is_plain else json.dumps(text, ensure_ascii=not text.isprintable())
