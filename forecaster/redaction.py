"""Text without secrets: whatever spelling a secret has come to, `***` stands in its place."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from forecaster.config import Config

MASK = "***"
_SHORT = 6
"""A secret with fewer characters is only one where it stands alone: `a` is in every word."""
_IN_ADDRESS = re.compile(r"(?P<user>://[^\s:@/?#'\"]*:)[^\s'\"]*(?=@)")
_IN_PARAMETER = re.compile(
    r"(?P<name>\b(?:pass|\w*password|\w*passwd|\w*passphrase)\s?=\s?)"
    r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;,'\"]+)",
    re.IGNORECASE,
)
_SECRET_WORDS = ("pass", "secret", "token", "key")


class Secrets:
    """Words that must not be said. Immutable: `with_more` returns another."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = frozenset(word for word in words if word.strip())
        spellings = {spelling for word in self._words for spelling in _spellings(word)}
        longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        self._pattern = re.compile("|".join(map(_alone, longest_first))) if spellings else None

    def with_more(self, words: Iterable[str]) -> "Secrets":
        """Return these secrets and others."""
        more = self._words | set(words)
        return self if more == self._words else Secrets(more)

    def hide(self, text: str) -> str:
        """Return `text` without these secrets, without `user:password@` and `password=…`."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        text = _IN_ADDRESS.sub(rf"\g<user>{MASK}", text)
        return _IN_PARAMETER.sub(rf"\g<name>{MASK}", text)


def secrets_of(config: Config) -> frozenset[str]:
    """Return every password in the settings: fields called so, and those of addresses."""
    return frozenset(_secrets_in(config))


def _secrets_in(settings: object) -> Iterator[str]:
    assert is_dataclass(settings)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, str) and field.name.endswith("password"):
            yield value
        elif isinstance(value, str) and field.name.endswith("url"):
            yield from secrets_of_address(value)
        elif isinstance(value, dict):
            for inner in value.values():
                yield from _secrets_in(inner)
        elif is_dataclass(value):
            yield from _secrets_in(value)


def secrets_of_address(url: str) -> Iterator[str]:
    """Yield the passwords of a URL, as they are written there and as they are meant."""
    rest = url.partition("://")[2]
    userinfo, at, place = rest.rpartition("@")
    if at and not rest.startswith("/"):
        password = userinfo.partition(":")[2]
        yield from (password, unquote(password))
    for parameter in place.partition("?")[2].split("&"):
        name, _, value = parameter.partition("=")
        if any(word in name.lower() for word in _SECRET_WORDS):
            yield from (value, unquote_plus(value))


def _spellings(word: str) -> Iterator[str]:
    for encoded in (quote(word), quote(word, safe=""), quote_plus(word)):
        yield from (encoded, re.sub("%..", lambda match: match[0].lower(), encoded))
    for plain in (word, *word.splitlines()):
        yield from (plain, repr(plain)[1:-1], json.dumps(plain)[1:-1])
        yield json.dumps(plain, ensure_ascii=False)[1:-1]


def _alone(spelling: str) -> str:
    escaped = re.escape(spelling)
    return escaped if len(spelling) >= _SHORT else rf"(?<!\w){escaped}(?!\w)"
