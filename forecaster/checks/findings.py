"""Findings: all that `forecaster check` reports, instead of stopping at the first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from forecaster.errors import ConfigError, ForecasterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of a check: a failure stops a job, a note does not."""

    level: Literal["failure", "note"]
    about: str
    """A dataset, or `database`."""
    message: str
    hint: str | None = None


def failure(about: str, message: str, *, hint: str | None = None) -> Finding:
    """Return a problem to fix before jobs can run."""
    return Finding(level="failure", about=about, message=message, hint=hint)


def note(about: str, message: str, *, hint: str | None = None) -> Finding:
    """Return something that works, but probably not as intended."""
    return Finding(level="note", about=about, message=message, hint=hint)


def failures_of(about: str, error: ForecasterError) -> Iterator[Finding]:
    """Return an error as failures, one for each of its problems; the last has its hint."""
    problems = error.problems if isinstance(error, ConfigError) else [error.message]
    for problem in problems[:-1]:
        yield failure(about, problem)
    yield failure(about, problems[-1], hint=error.hint)


def snippet(suggestions: Mapping[str, Mapping[str, str | int | float]]) -> str:
    """Return the suggestions for each dataset as TOML, to be copied; empty without any."""
    lines = []
    for dataset, settings in suggestions.items():
        if settings:
            name = f'"{dataset}"' if "." in dataset else dataset
            lines.append(f"[datasets.{name}]")
            lines += [
                f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
                for key, value in settings.items()
            ]
    return "\n".join(lines)
