"""Reloads the configuration, validated before anything in service changes.

Contents are compared, not times of change or i-nodes: a mounted config map swaps links, and a
copied file may keep its time. A change is validated once it is the same at two polls in a row, so
that a half-written file is not; an invalid one is reported once and changes nothing.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from forecaster.config import file
from forecaster.config.settings import Config
from forecaster.errors import ConfigError
from jobs.execution import secret_filter
from jobs.service.plugins import unusable_plugins

NEED_RESTART = ("database_url", "server", "lease_ttl")
"""Settings that are used at start only: changes are reported, and need a restart."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing to do: the same settings as in force, or a file that was validated before."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The file is invalid; `reason` is a line for each problem."""

    reason: str


@dataclass(frozen=True, slots=True)
class Staged:
    """Other settings, valid as far as can be checked without a database."""

    config: Config
    notes: tuple[str, ...]
    """Changes that are not in `config`, and why."""


Reload = Unchanged | Refused | Staged
_Content = bytes | OSError


def stage(in_force: Config, wanted: Config) -> Unchanged | Staged:
    """Return what can be put in force of `wanted` without a restart."""
    if wanted == in_force:
        return Unchanged()
    opened_once = [field.name for field in fields(Config) if field.name in NEED_RESTART]
    kept = {name: getattr(in_force, name) for name in opened_once}
    waiting = [name for name, value in kept.items() if getattr(wanted, name) != value]
    return Staged(
        config=replace(wanted, **kept),
        notes=tuple(f"{name} changed: takes effect after a restart" for name in waiting),
    )


class Reloader:
    """Polls the configuration and the files of secrets that it names.

    `accept` records that what was staged is in force; changes are relative to the last accepted.
    """

    def __init__(
        self, path: Path, in_force: Config, *, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._path, self._in_force, self._environ = path, in_force, environ
        self._secrets: tuple[str, ...] = ()
        self._seen = self._validated = ""

    def poll(self) -> Reload:
        """Return how the settings changed since the last poll; an error in them is not raised."""
        digest = _digest({name: _content(name) for name in (str(self._path), *self._secrets)})
        is_settled, self._seen = digest == self._seen, digest
        if not is_settled or digest == self._validated:
            return Unchanged()
        return self._validate()

    def accept(self, staged: Staged) -> None:
        """Record that what was staged is in force."""
        self._in_force = staged.config

    def _validate(self) -> Reload:
        name = str(self._path)
        read = {name: _content(name)}

        def read_secret(secret: str) -> str:
            read[secret] = _content(secret)
            return _text(read[secret])

        try:
            try:
                text = _text(read[name])
            except (OSError, UnicodeDecodeError) as error:
                return Refused(f"{name} cannot be read: {error}")
            wanted = file.parse(text, self._environ, read_file=read_secret)
            secret_filter.keep(wanted)
            refusals = unusable_plugins(wanted)
            if refusals:
                return Refused("\n".join(f"{key}: {why.message}" for key, why in refusals.items()))
            return stage(self._in_force, wanted)
        except ConfigError as error:
            return Refused(error.message)
        finally:
            self._secrets = tuple(secret for secret in read if secret != name)
            self._seen = self._validated = _digest(read)


def _content(name: str) -> _Content:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        return error


def _text(content: _Content) -> str:
    if isinstance(content, OSError):
        raise content
    return content.decode()


def _digest(contents: Mapping[str, _Content]) -> str:
    digests = {
        name: f"unreadable: {content.strerror}"
        if isinstance(content, OSError)
        else hashlib.sha256(content).hexdigest()
        for name, content in contents.items()
    }
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
