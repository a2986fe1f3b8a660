"""Text without quoting, and the position of each part of it in the original text.

Decoded are percent-encoding and the escapes of JSON and of a Python repr, however often they were
applied. What is ambiguous becomes the same: a line break and the `n` that stands for it, a
space and `+`, one backslash and none. It takes time in proportion to the text, as no expression
here goes over a part of it again.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_IS_QUOTED = re.compile(r"[\\%+]")
_PERCENT = re.compile(rb"%(?:25)*+([0-9A-Fa-f]{2})?")
_ESCAPE = re.compile(
    rb"\\++(?:u([dD][89abAB][0-9a-fA-F]{2})\\++u([dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})))?"
)
_SHORTHANDS = bytes.maketrans(b"\n\t\r ", b"ntr+")
_LAST_CHARACTER = 0x10FFFF
_BACKSLASH = ord("\\")

Span = tuple[int, int]


class _Decoded(NamedTuple):
    """Bytes, and for each of them where that begins and ends which it came from."""

    content: bytes
    begins: list[int]
    ends: list[int]


class Unquoted:
    """A text as UTF-8 without percent-encoding and escapes; spans are places in `raw`."""

    def __init__(self, text: str) -> None:
        self._raw = text.encode(errors="surrogatepass")
        self._escaped = _decode(self._raw, _PERCENT, _percent)
        self._plain = _decode(self._escaped.content, _ESCAPE, _character)
        self._key = self._plain.content.translate(_SHORTHANDS)

    def find(self, other: "Unquoted", *, alone: bool) -> Iterator[Span]:
        """Yield where `other` stands in this text; `alone`: where it is no part of a longer word.

        Its backslashes count, in case there is little else to it; one of nothing else is not found.
        """
        least = other._escaped.content.strip(b"\\").count(b"\\")
        place = self._key.find(other._key) if other._key else -1
        while place >= 0:
            last = place + len(other._key) - 1
            inner = self._plain.begins[place], self._plain.ends[last]
            begin, end = self._with_backslashes(*inner, other._escaped.content)
            span = self._escaped.begins[begin], self._escaped.ends[end - 1]
            has_all = self._escaped.content.count(b"\\", begin, end) >= least
            if has_all and not (alone and self._is_inside_word(*span)):
                yield span
                place = last
            place = self._key.find(other._key, place + 1)

    def replace(self, spans: Iterable[Span], mask: str) -> str:
        """Return the text with a mask in place of each span; they come in order of their begin."""
        parts, done = [], 0
        for begin, end in spans:
            if begin >= done:
                parts += [self._raw[done:begin], mask.encode()]
            done = max(done, end)
        return b"".join([*parts, self._raw[done:]]).decode(errors="surrogatepass")

    def _with_backslashes(self, begin: int, end: int, wanted: bytes) -> Span:
        """Widen a span by the backslashes around it, where `wanted` begins or ends with some."""
        content = self._escaped.content
        while wanted.startswith(b"\\") and begin and content[begin - 1] == _BACKSLASH:
            begin -= 1
        while wanted.endswith(b"\\") and end < len(content) and content[end] == _BACKSLASH:
            end += 1
        return begin, end

    def _is_inside_word(self, begin: int, end: int) -> bool:
        around = self._raw[max(begin - 1, 0) : begin] + self._raw[end : end + 1]
        return any(chr(byte).isalnum() or byte in b"_" or byte >= 128 for byte in around)


def is_quoted(text: str) -> bool:
    """Return whether anything in `text` may be percent-encoded or escaped."""
    return _IS_QUOTED.search(text) is not None


def _decode(
    raw: bytes, pattern: re.Pattern[bytes], meaning: Callable[[re.Match[bytes]], bytes]
) -> _Decoded:
    content = bytearray()
    begins: list[int] = []
    ends: list[int] = []
    done = 0
    for match in pattern.finditer(raw):
        begin, end = match.span()
        decoded = meaning(match)
        content += raw[done:begin] + decoded
        begins += [*range(done, begin), *[begin] * len(decoded)]
        ends += [*range(done + 1, begin + 1), *[end] * len(decoded)]
        done = end
    content += raw[done:]
    begins += range(done, len(raw))
    ends += range(done + 1, len(raw) + 1)
    return _Decoded(bytes(content), begins, ends)


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%" if match[1] is None else bytes.fromhex(match[1].decode())


def _character(match: re.Match[bytes]) -> bytes:
    high, low, *others = match.groups()
    if high is not None:
        units = bytes.fromhex((high + low).decode())
        return units.decode("utf-16-be").encode()
    code = next((int(digits, 16) for digits in others if digits is not None), None)
    if code is None or code > _LAST_CHARACTER:
        return b""
    return chr(code).encode(errors="surrogatepass")
