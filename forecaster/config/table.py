"""One table of the configuration file at a time: every problem is collected, none is raised.

Problems never repeat what came out of an environment variable or a secret's file, nor anything
after `://`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from forecaster.config.validators import InvalidSetting, nearest, text

T = TypeVar("T")
D = TypeVar("D")
S = TypeVar("S")

_VARIABLE = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<or>:-(?P<default>[^{}$]*))?\}|\$\{"
)


@dataclass(frozen=True, slots=True)
class ParseContext:
    """Where values may come from besides the file, and the problems so far."""

    environ: Mapping[str, str]
    read_file: Callable[[str], str]
    problems: list[str] = field(default_factory=list)


class Table:
    """One table of the file. Each setting asked for is known; `close` reports the others."""

    def __init__(self, values: object, path: str, context: ParseContext) -> None:
        self.path = path
        self._context = context
        self._known: list[str] = []
        self._values: dict[str, object] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            self.add_problem("", f"must be a table, found {shown(values)}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of the table in the file."""
        return tuple(self._values)

    def add_problem(self, key: str, problem: str) -> None:
        """Report a problem with a setting, or with the table when `key` is empty."""
        dotted = ".".join(part for part in (self.path, key) if part)
        self._context.problems.append(f"{dotted}: {problem}")

    def table(self, key: str) -> "Table":
        """Return a table inside this one, empty when it is not in the file."""
        self._known.append(key)
        path = f"{self.path}.{key}" if self.path else key
        return Table(self._values.get(key, {}), path, self._context)

    def take(self, key: str, read: Callable[[object], T], default: D) -> T | D:
        """Read one setting; report a problem with it and return the default."""
        self._known.append(key)
        if key not in self._values:
            return default
        raw = self._values[key]
        value = raw
        try:
            value = _expand(raw, self._context.environ)
            return read(value)
        except InvalidSetting as error:
            actual = error.actual if value == raw else None
            self.add_problem(key, f"{error.rule}, found {actual or shown(raw)}{error.suggestion}")
            return default

    def take_secret(self, key: str, read: Callable[[object], T]) -> T | None:
        """Read a setting, or the file that `<key>_file` names."""
        file_key = f"{key}_file"
        if file_key not in self._values:
            self._known.append(file_key)
            return self.take(key, read, None)
        if key in self._values:
            self.add_problem(key, f"cannot be combined with {file_key}")
        self._known.append(key)
        return self.take(file_key, lambda path: read(self._content(text(path))), None)

    def read_all(self, kind: type[S], readers: Mapping[str, Callable[[object], Any]]) -> S:
        """Read the whole table as a dataclass whose fields have defaults."""
        default = kind()
        values = {key: self.take(key, read, getattr(default, key)) for key, read in readers.items()}
        self.report_unknown()
        return kind(**values)

    def report_unknown(self) -> None:
        """Report the unknown settings of the table."""
        for key in self._values:
            if key not in self._known:
                near = nearest(key, self._known)
                meant = f"; did you mean {near!r}?" if near else ""
                is_plain = re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key)
                self.add_problem(key if is_plain else shown(key), f"unknown setting{meant}")

    def _content(self, path: str) -> str:
        try:
            return self._context.read_file(path).strip()
        except OSError as error:
            reason = (error.strerror or "not readable").lower()
        except ValueError:
            reason = "not text"
        raise InvalidSetting("must be the path of a readable file", actual=reason)


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


def _expand(raw: object, environ: Mapping[str, str]) -> object:
    """Expand environment variables; `$${` stands for a plain `${`."""
    if isinstance(raw, list):
        return [_expand(item, environ) if isinstance(item, str) else item for item in raw]
    if not isinstance(raw, str):
        return raw

    def value_of(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        if match["name"] is None:
            raise InvalidSetting("must refer to variables as ${NAME} or ${NAME:-default}")
        value = environ.get(match["name"])
        if match["or"]:
            return value or match["default"]
        if value is None:
            raise InvalidSetting(
                f"needs the environment variable {match['name']}", actual="it unset"
            )
        return value

    return _VARIABLE.sub(value_of, raw)
