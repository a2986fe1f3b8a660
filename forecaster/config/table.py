"""One table of the configuration file at a time: every problem is collected, none is raised.

Problems never repeat what came out of an environment variable or a secret's file, nor anything
after `://`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, time
from typing import Any, TypeVar

from forecaster.config.settings import SECRETS, readers
from forecaster.config.validators import InvalidSetting, Reader, nearest, read_with, text

T = TypeVar("T")
D = TypeVar("D")
S = TypeVar("S")

_VARIABLE = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<or>:-(?P<default>[^{}$]*))?\}|\$\{"
)


@dataclass(frozen=True, slots=True)
class ParseContext:
    """Where values may come from besides the file; the problems and tables so far."""

    environ: Mapping[str, str]
    read_file: Callable[[str], str]
    problems: list[str] = field(default_factory=list)
    tables: list["Table"] = field(default_factory=list)


class Table:
    """One table of the file. Each setting asked for is known, with `_file` for a secret."""

    def __init__(self, values: object, path: str, context: ParseContext) -> None:
        self.path = path
        self._context = context
        self.known: list[str] = []
        self._values: dict[str, object] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            self.add_problem("", f"must be a table, found {shown(values)}")
        context.tables.append(self)

    def __contains__(self, key: str) -> bool:
        return key in self._values or f"{key}_file" in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def add_problem(self, key: str, problem: str) -> None:
        """Report a problem with a setting, or with the table when `key` is empty."""
        dotted = ".".join(part for part in (self.path, key) if part)
        self._context.problems.append(f"{dotted}: {problem}")

    def table(self, key: str) -> "Table":
        """Return a table inside this one, empty when it is not in the file."""
        self.known.append(key)
        path = f"{self.path}.{key}" if self.path else key
        return Table(self._values.get(key, {}), path, self._context)

    def take(self, key: str, read: Reader[T], default: D) -> T | D:
        """Read one setting; report a problem with it and return the default."""
        is_secret, file_key = key.endswith(SECRETS), f"{key}_file"
        if is_secret and file_key in self._values:
            return self._take_from_file(key, read, default)
        self.known += [key, file_key] if is_secret else [key]
        if key not in self._values:
            return default
        value = raw = self._values[key]
        try:
            value = _expand(raw, self._context.environ)
            return read_with(read, value)
        except InvalidSetting as error:
            actual = error.actual if is_secret or value == raw else None
            instead = "something else" if is_secret and str(raw).strip() else shown(raw)
            self.add_problem(key, f"{error.rule}, found {actual or instead}{error.suggestion}")
            return default

    def _take_from_file(self, key: str, read: Reader[T], default: D) -> T | D:
        if key in self._values:
            self.known.append(key)
            self.add_problem(key, f"cannot be combined with {key}_file")
        return self.take(f"{key}_file", lambda path: read(self._content(text(path))), default)

    def read_all(self, kind: type[S], **others: object) -> S:
        """Return a dataclass: the fields whose types name readers from the file, and others."""
        return kind(**self.read_fields(kind), **others)

    def read_fields(self, kind: Any, **defaults: object) -> dict[str, Any]:
        """Read the fields of a dataclass whose types name readers."""
        known = {part.name: part.default for part in fields(kind)} | defaults
        return {name: self.take(name, read, known[name]) for name, read in readers(kind).items()}

    def report_unknown(self) -> None:
        """Report the unknown settings of the table."""
        for key in self._values:
            if key not in self.known:
                near = nearest(key, self.known)
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
        case date() | time():
            return "a date or time"
        case _:
            return f"a {type(value).__name__}"


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
