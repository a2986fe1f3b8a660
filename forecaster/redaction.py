"""Text without secrets: whatever spelling a secret has come to, `***` stands in its place."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from urllib.parse import unquote, unquote_plus

from forecaster.config import Config

_LETTERS = (("\n", "n"), ("\t", "t"), ("\r", "r"))
MASK = "***"
_SHORT = 6
"""A secret with fewer characters is only one where it stands alone: `a` is in every word."""
_IN_ADDRESS = re.compile(r"(?P<user>://[^\s:@/?#'\"]*:)[^\s'\"]*(?=@)")
_IN_PARAMETER = re.compile(
    r"(?P<name>\b(?:pass|\w*password|\w*passwd|\w*passphrase)\s?=\s?)"
    r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;,'\"]+)",
    re.IGNORECASE,
)
_ESCAPE = r"(?:\\|(?i:%(?:25)*5c))"
_SHORTHANDS = {" ": r"\+", **{named: rf"{_ESCAPE}+{letter}" for named, letter in _LETTERS}}
_SECRET_WORDS = ("pass", "secret", "token", "key")


class Secrets:
    """Words that must not be said. Immutable: `with_more` returns another."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = frozenset(word for word in words if word.strip())
        longest_first = sorted(self._words, key=lambda word: (-len(word), word))
        pattern = "|".join(map(_pattern_of, longest_first))
        self._pattern = re.compile(pattern) if pattern else None

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
        elif isinstance(value, Mapping):
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


def _pattern_of(word: str) -> str:
    """Return what matches a secret, however often it was quoted: escaped, percent-encoded, both."""
    spelt = "".join(map(_spellings_of, word))
    return spelt if len(word) >= _SHORT else rf"(?<!\w){spelt}(?!\w)"


def _spellings_of(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    percents = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode(errors="surrogatepass"))
    units = character.encode("utf-16-be", errors="surrogatepass")
    json = "".join(rf"{_ESCAPE}+u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
    python = rf"{_ESCAPE}+(?:x{ord(character):02x}|u{ord(character):08x})"
    itself = rf"{_ESCAPE}+" if character == "\\" else rf"{_ESCAPE}*{re.escape(character)}"
    spellings = [itself, rf"{_ESCAPE}*(?i:{percents}|{json}|{python})"]
    if character in _SHORTHANDS:
        spellings.append(_SHORTHANDS[character])
    return rf"(?:{'|'.join(spellings)})"
