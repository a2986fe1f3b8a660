"""Formats of timestamps in text, in the directives of strptime: `%d/%m/%Y %H:%M`.

A format becomes a regular expression whose groups are named after parts of a time.
"""

import re
from collections.abc import Iterator

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = (
    r"(?P<name>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))"
)
WEEKDAY = (
    r"(?i:mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?"
    r"|sun(?:day)?)"
)
HALF = r"(?P<half>[aApP])\.?[mM]\.?"
UTC = r"(?P<utc>[zZ]|UTC|GMT)"
OFFSET = r"(?:UTC|GMT)?(?P<offset>[+−-](?:[0-9]{4}|[0-9]{1,2}(?::[0-9]{2})?))"
EXAMPLE = "%d/%m/%Y %H:%M"
_LONGEST = 100
_SHORTHANDS = {"T": "%H:%M:%S", "F": "%Y-%m-%d", "R": "%H:%M", "D": "%m/%d/%y"}
_DIGITS = {
    "Y": ("year", "{4}", "{4}"),
    "G": ("year", "{4}", "{4}"),
    "y": ("short_year", "{2}", "{2}"),
    "m": ("month", "{1,2}", "{2}"),
    "d": ("day", "{1,2}", "{2}"),
    "e": ("day", "{1,2}", "{2}"),
    "j": ("yearday", "{1,3}", "{3}"),
    "q": ("quarter", "{1}", "{1}"),
    "V": ("week", "{1,2}", "{2}"),
    "u": ("weekday", "{1}", "{1}"),
    "H": ("hour", "{1,2}", "{2}"),
    "k": ("hour", "{1,2}", "{2}"),
    "I": ("hour", "{1,2}", "{2}"),
    "l": ("hour", "{1,2}", "{2}"),
    "M": ("minute", "{1,2}", "{2}"),
    "S": ("second", "{1,2}", "{2}"),
    "f": ("fraction", "{1,9}", "{1,9}"),
    "s": ("epoch", "{1,11}", "{1,11}"),
}
"""Directives of digits: the part, how many there may be, and how many beside other digits."""

_WORDS = {
    "b": MONTH,
    "B": MONTH,
    "h": MONTH,
    "a": WEEKDAY,
    "A": WEEKDAY,
    "p": HALF,
    "P": HALF,
    "z": f"(?:{UTC}|{OFFSET})",
    ":z": f"(?:{UTC}|{OFFSET})",
    "#z": f"(?:{UTC}|{OFFSET})",
    "Z": UTC,
    ".f": r"(?:[.,](?P<fraction>[0-9]{1,9}))?",
    "%": "%",
}
_TOKEN = re.compile(r"%(?P<directive>[:#.]?[A-Za-z%])|(?P<space>\s+)|(?P<literal>[^%])|(?P<odd>%)")


def expression(text: str) -> str:
    """Return the regular expression of a format; ValueError has what a format must be."""
    if len(text) > _LONGEST:
        raise ValueError(f"must be at most {_LONGEST} characters")
    pieces = list(_pieces(text))
    directives = [directive for directive, _ in pieces if directive]
    pattern = "".join(piece for _, piece in pieces)
    _require_one_time(directives, re.findall(r"\(\?P<(\w+)>", pattern))
    return f"^{pattern}$"


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield each directive, empty for what is taken literally, and its regular expression."""
    for short, long in _SHORTHANDS.items():
        text = text.replace(f"%{short}", long)
    tokens = list(_TOKEN.finditer(text))
    for place, token in enumerate(tokens):
        directive = token["directive"] or ""
        if token["space"]:
            yield "", r"\s+"
        elif token["literal"]:
            yield "", re.escape(token["literal"])
        elif directive in _DIGITS:
            name, free, fixed = _DIGITS[directive]
            neighbours = tokens[max(0, place - 1) : place] + tokens[place + 1 : place + 2]
            beside = any(map(_is_digits, neighbours))
            yield directive, f"(?P<{name}>[0-9]{fixed if beside else free})"
        elif directive in _WORDS:
            yield directive, _WORDS[directive]
        else:
            raise ValueError(f"must use known directives, such as {EXAMPLE!r}")


def _is_digits(token: re.Match[str]) -> bool:
    return token["directive"] in _DIGITS or (token["literal"] or "").isdigit()


def _require_one_time(directives: list[str], parts: list[str]) -> None:
    """Raise ValueError unless the parts make one time."""
    twice = sorted({part for part in parts if parts.count(part) > 1})
    if twice:
        raise ValueError(f"must contain the {twice[0]} only once")
    present = set(parts)
    has_year = present & {"year", "short_year"}
    has_day = present & {"month", "name", "yearday", "week", "quarter"}
    if "epoch" not in present and not ((has_year and has_day) or present == {"year"}):
        raise ValueError("must contain a date, with %Y and %m or %b, %j, %q or %V")
    if ("half" in present) != bool({"I", "l"} & set(directives)):
        raise ValueError("must use %I and %p together")
    for part, needed in (("minute", "hour"), ("second", "minute"), ("fraction", "second")):
        if part in present and needed not in present:
            raise ValueError(f"must contain the {needed} with the {part}")
    if "epoch" not in present and "day" in present and not present & {"month", "name"}:
        raise ValueError("must contain the month with the day")
