"""Where stdout or stderr cannot encode a character, ASCII is written instead: never a traceback.

An encoding other than UTF-8 is that of `PYTHONIOENCODING`, or of the locale. Characters that
tables and charts are drawn with have a replacement, everything else becomes an escape.
"""

import codecs
import io
import os
import sys
from typing import TextIO

_HANDLER = "forecaster.ascii"
_LIKE = str.maketrans(
    {
        "▁": "_", "▂": ".", "▃": ",", "▄": "-", "▅": "=", "▆": "+", "▇": "*", "█": "#", "▏": "|",
        "│": "|", "…": "...", "–": "-", "—": "-", "−": "-", "·": "*", "×": "x", "°": " deg",
        "≥": ">=", "≤": "<=", "±": "+-", "→": "->",
    }
)  # fmt: skip


def degrade() -> None:
    """Make both streams replace what they cannot encode."""
    codecs.register_error(_HANDLER, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def encodes(stream: TextIO, text: str) -> bool:
    """Return whether a stream can encode `text`."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeError:
        return False
    return True


def typed(word: str | None) -> str | None:
    """Return a word of the command line as UTF-8, whatever encoding the locale has."""
    return None if word is None else os.fsencode(word).decode("utf-8", "replace")


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end].translate(_LIKE)
    return lost.encode("ascii", "backslashreplace").decode("ascii"), error.end
