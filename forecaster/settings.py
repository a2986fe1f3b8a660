"""Reading settings: one table of the file at a time, every problem noted, none of them raised.

A reader turns a raw value into a checked one or raises Unfit. Problems never repeat what came out
of an environment variable or a secret's file, nor anything after `://`.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TypeVar
from zoneinfo import available_timezones

from forecaster.durations import Step, format_duration, parse_duration

T = TypeVar("T")
D = TypeVar("D")

LONGEST = timedelta(days=73_050)
"""200 years: subtracted from any instant that data can have, it is still in the calendar."""

LONGEST_STEP = timedelta(days=3_653)
FOREVER = "forever"

_VARIABLE = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<or>:-(?P<default>[^{}$]*))?\}|\$\{"
)


class Unfit(ValueError):
    """A value that breaks a rule; `found` replaces the value where that must not be shown."""

    def __init__(self, rule: str, *, found: str | None = None, near: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.found = found
        self.suggestion = f"; did you mean {near!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where values may come from besides the file, and what was wrong so far."""

    environ: Mapping[str, str]
    read_file: Callable[[str], str]
    problems: list[str] = field(default_factory=list)


class Table:
    """One table of the file. Each setting asked for is known; `close` reports the others."""

    def __init__(self, values: object, path: str, surroundings: Surroundings) -> None:
        self.path = path
        self._around = surroundings
        self._known: list[str] = []
        self._values: dict[str, object] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            self.refuse("", f"must be a table, found {shown(values)}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    @property
    def names(self) -> tuple[str, ...]:
        """What the table holds in the file."""
        return tuple(self._values)

    def refuse(self, key: str, problem: str) -> None:
        """Note what is wrong with a setting, or with the table when `key` is empty."""
        dotted = ".".join(part for part in (self.path, key) if part)
        self._around.problems.append(f"{dotted}: {problem}")

    def table(self, key: str) -> "Table":
        """Return a table inside this one, empty when it is not in the file."""
        self._known.append(key)
        path = f"{self.path}.{key}" if self.path else key
        return Table(self._values.get(key, {}), path, self._around)

    def take(self, key: str, read: Callable[[object], T], default: D) -> T | D:
        """Read one setting; note what is wrong with it and go on with the default."""
        self._known.append(key)
        if key not in self._values:
            return default
        raw = self._values[key]
        try:
            return read(_expand(raw, self._around.environ))
        except Unfit as error:
            self.refuse(key, f"{error.rule}, found {error.found or shown(raw)}{error.suggestion}")
            return default

    def take_secret(self, key: str, read: Callable[[object], T]) -> T | None:
        """Read a setting, or the file that `<key>_file` names."""
        file_key = f"{key}_file"
        if file_key not in self._values:
            self._known.append(file_key)
            return self.take(key, read, None)
        if key in self._values:
            self.refuse(key, f"must be given once, found {key} and {file_key}")
        self._known.append(key)
        return self.take(file_key, lambda path: read(self._content(text(path))), None)

    def close(self) -> None:
        """Report what is in the table and was never asked for."""
        for key in self._values:
            if key not in self._known:
                near = nearest(key, self._known)
                meant = f"; did you mean {near!r}?" if near else ""
                self.refuse(_plain_key(key), f"unknown setting{meant}")

    def _content(self, path: str) -> str:
        try:
            return self._around.read_file(path).strip()
        except OSError as error:
            reason = (error.strerror or "not readable").lower()
        except ValueError:
            reason = "not text"
        raise Unfit("must name a file that can be read", found=reason)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold()[:80], by_folded, n=1)
    return by_folded[close[0]] if close else None


def shown(value: object) -> str:
    """Describe a value as the file has it, without anything that could be a password."""
    match value:
        case bool():
            return str(value).lower()
        case int() if abs(value) >= 10**18:
            return "a huge integer"
        case int() | float():
            return repr(value)
        case str():
            safe = re.sub(r"://.*", "://…", value, flags=re.DOTALL)
            return repr(safe if len(safe) <= 60 else safe[:60] + "…")
        case dict():
            return "a table"
        case list():
            return "an array"
        case _:
            return "a date or time"


def _plain_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else shown(key)


def _expand(raw: object, environ: Mapping[str, str]) -> object:
    """Put environment variables in; `$${` stands for a plain `${`."""
    if isinstance(raw, list):
        return [_expand(item, environ) if isinstance(item, str) else item for item in raw]
    if not isinstance(raw, str):
        return raw

    def value_of(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        if match["name"] is None:
            raise Unfit("must name variables as ${NAME} or ${NAME:-default}")
        value = environ.get(match["name"])
        if match["or"]:
            return value or match["default"]
        if value is None:
            raise Unfit(f"needs the environment variable {match['name']}", found="it unset")
        return value

    return _VARIABLE.sub(value_of, raw)


def text(value: object) -> str:
    """Read text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise Unfit("must be text")
    return value


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise Unfit("must be true or false")
    return value


def duration(value: object) -> timedelta:
    """Read a duration of zero or more."""
    if not isinstance(value, str):
        raise Unfit('must be a duration with its unit, such as "15m"')
    try:
        found = parse_duration(value)
    except ValueError as error:
        raise Unfit(str(error).partition(", found ")[0]) from None
    if found > LONGEST:
        raise Unfit(f"must be at most {format_duration(LONGEST)}")
    return found


def positive_duration(value: object) -> timedelta:
    """Read a duration longer than zero."""
    found = duration(value)
    if not found:
        raise Unfit("must be longer than zero")
    return found


def retention(value: object) -> timedelta | None:
    """Read how long to keep rows; `forever` is None."""
    return None if value == FOREVER else positive_duration(value)


def step(value: object) -> Step:
    """Read the step of a grid."""
    if not isinstance(value, str):
        raise Unfit('must be a duration with its unit, such as "5m", "1h", "1d", "1w" or "1mo"')
    try:
        found = Step.parse(value)
    except ValueError as error:
        raise Unfit(str(error).partition(", found ")[0]) from None
    if not timedelta(milliseconds=1) <= found.approximate <= LONGEST_STEP:
        raise Unfit("must be from 1ms to 10y")
    return found


def number(value: object) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit("must be a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise Unfit("must be a finite number")
    return found


def number_between(low: float, high: float) -> Callable[[object], float]:
    """Return a reader of numbers from `low` to below `high`."""

    def read(value: object) -> float:
        found = number(value)
        if not low <= found < high:
            raise Unfit(f"must be from {low:g} to below {high:g}")
        return found

    return read


def count_between(low: int, high: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not isinstance(value, int) or not is_whole or not low <= value <= high:
            raise Unfit(f"must be a whole number from {low} to {high}")
        return value

    return read


def one_of(allowed: tuple[str, ...]) -> Callable[[object], str]:
    """Return a reader of a closed set of words."""

    def read(value: object) -> str:
        if value not in allowed:
            near = nearest(value, allowed) if isinstance(value, str) else None
            raise Unfit(f"must be {' or '.join(map(repr, allowed))}", near=near)
        return str(value)

    return read


def timezone(value: object) -> str:
    """Read the name of an IANA time zone."""
    name = text(value)
    if name not in _timezones():
        raise Unfit("must be an IANA time zone", near=nearest(name, _timezones()))
    return name


@cache
def _timezones() -> frozenset[str]:
    # `localtime` and `Factory` are files beside the zones: they name no place.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def column_names(value: object) -> tuple[str, ...]:
    """Read the name of a column, or an array of them."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise Unfit("must be the name of a column, or an array of names")
    return tuple(names)
