"""Redaction: `***` in place of every secret in a text, however it is encoded.

A secret may have been percent-encoded, escaped as in JSON or in a repr, or both, any number of
times. So text and secret are compared after all of that was undone, which takes time in proportion
to the text, whatever stands in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from urllib.parse import unquote, unquote_plus

from forecaster.config.quoting import Unquoted, is_quoted
from forecaster.config.settings import Config
from forecaster.config.urls import is_secret

MASK = "***"
_SHORT = 6
"""A secret with fewer characters is only redacted as a whole word: `a` is in every text."""
_UNSPACED = re.compile(r"[^\s'\"]++")
_USER = re.compile(r"://[^\s:@/?#'\"]*+:")
_IN_PARAMETER = re.compile(
    r"(?P<name>\b(?:pass|\w*password|\w*passwd|\w*passphrase)\s?=\s?)"
    r"(?:'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"|[^\s&;,'\"]++)",
    re.IGNORECASE,
)


class Secrets:
    """Secrets to redact. Immutable: `with_more` returns another."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = frozenset(word for word in words if word.strip())
        longest_first = sorted(self._words, key=lambda word: (-len(word), word))
        self._unquoted = [(Unquoted(word), len(word) < _SHORT) for word in longest_first]
        pattern = "|".join(map(_literally, longest_first))
        self._literal = re.compile(pattern) if pattern else None

    def with_more(self, words: Iterable[str]) -> "Secrets":
        """Return these secrets and others."""
        more = self._words | set(words)
        return self if more == self._words else Secrets(more)

    def hide(self, text: str) -> str:
        """Return `text` without these secrets, without `user:password@` and `password=…`."""
        if self._literal is not None:
            text = self._literal.sub(MASK, text)
            if is_quoted(text):
                text = self._hide_quoted(text)
        if "://" in text:
            text = _UNSPACED.sub(_without_password, text)
        return _IN_PARAMETER.sub(rf"\g<name>{MASK}", text)

    def _hide_quoted(self, text: str) -> str:
        """Hide every secret that was quoted, in whatever way."""
        within = Unquoted(text)
        spans = (
            span
            for secret, is_short in self._unquoted
            for span in within.find(secret, alone=is_short)
        )
        return within.replace(sorted(spans), MASK)


def secrets_of(config: Config) -> frozenset[str]:
    """Return every password in the settings: fields of that name, and those of URLs."""
    return frozenset(_secrets_in(config))


def secrets_of_address(url: str) -> Iterator[str]:
    """Yield the passwords of a URL, encoded and decoded."""
    rest = url.partition("://")[2]
    userinfo, at, place = rest.rpartition("@")
    if at and not rest.startswith("/"):
        password = userinfo.partition(":")[2]
        yield from (password, unquote(password))
    for parameter in place.partition("?")[2].split("&"):
        name, _, value = parameter.partition("=")
        if is_secret(name):
            yield from (value, unquote_plus(value))


def _secrets_in(settings: object) -> Iterator[str]:
    assert is_dataclass(settings)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, str) and field.name.endswith("password"):
            yield value
        elif isinstance(value, str) and field.name.endswith("url"):
            yield from secrets_of_address(value)
        elif isinstance(value, Mapping):
            for inner in value.values():
                yield from _secrets_in(inner)
        elif is_dataclass(value):
            yield from _secrets_in(value)


def _literally(word: str) -> str:
    return re.escape(word) if len(word) >= _SHORT else rf"(?<!\w){re.escape(word)}(?!\w)"


def _without_password(match: re.Match[str]) -> str:
    """Return a run without blanks or quotes, which may be an address, without its password."""
    run = match[0]
    user = _USER.search(run)
    at = run.rfind("@")
    return run if user is None or at < user.end() else run[: user.end()] + MASK + run[at:]
