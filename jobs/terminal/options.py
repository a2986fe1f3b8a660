"""Options that several commands share, and what they stand for."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from forecaster.config import file, validators
from forecaster.config.file import ParsedConfig
from forecaster.config.settings import Config, DatasetConfig
from forecaster.errors import ConfigError
from forecaster.times.durations import Step
from jobs.execution import secret_filter

DEFAULT_CONFIG = Path("forecaster.toml")
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", envvar="FORECASTER_CONFIG", metavar="PATH", help="The configuration file."
    ),
]
DatasetArgument = Annotated[str | None, typer.Argument(help="One dataset; all when left out.")]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="ISO", help="Run the tick of this instant, such as 2026-11-20T09:00Z."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def load(path: Path) -> Config:
    """Read the configuration; ConfigError lists every problem in it."""
    return drafted(path).finished()


def drafted(path: Path) -> ParsedConfig:
    """Read as much of the configuration as makes sense; ConfigError if it is no file of TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            [f"the configuration must be a file, found nothing at {path}"],
            hint="`forecaster init` writes one; `--config` or FORECASTER_CONFIG names another",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} cannot be read: {error}"]) from error
    draft = file.draft(text, os.environ, read_file=_read_secret)
    secret_filter.keep(draft.config)
    return draft


def _read_secret(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def chosen(config: Config, name: str | None) -> list[DatasetConfig]:
    """Return the dataset called `name`, or all of them."""
    if name is None:
        return list(config.datasets.values())
    if name not in config.datasets:
        known = ", ".join(config.datasets) or "none"
        raise ConfigError(
            [f"dataset must be one of {known}, found {name}"], hint=f"add [datasets.{name}]"
        )
    return [config.datasets[name]]


def the_one(config: Config, name: str | None) -> DatasetConfig:
    """Return the dataset called `name`; it may be left out when there is only one."""
    datasets = chosen(config, name)
    if len(datasets) != 1:
        known = ", ".join(config.datasets)
        raise ConfigError(["one dataset must be named, found none"], hint=f"choose from {known}")
    return datasets[0]


def instant(text: str | None, option: str = "--at") -> datetime:
    """Return the instant that an option names, with its offset; now when there is none."""
    if text is None:
        return now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ConfigError(
            [f"{option} must be an ISO 8601 instant with an offset, found {text}"],
            hint="for example 2026-11-20T09:00:00Z or 2026-11-20T10:00:00+01:00",
        )
    # A tick of the future on record would leave all ticks until then undone.
    if not _EARLIEST <= at <= now():
        raise ConfigError([f"{option} must be from 1900 until now, found {text}"])
    return at.astimezone(UTC)


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def zone(name: str | None, option: str = "--timezone") -> str | None:
    """Return the name of a time zone; ConfigError unless it is one."""
    if name is None:
        return None
    try:
        return validators.timezone(name)
    except validators.InvalidSetting as error:
        raise ConfigError([f"{option} {error.rule}, found {name}{error.suggestion}"]) from None


def duration(option: str, text: str | None, *, or_none: bool = False) -> timedelta | None:
    """Return the length of time that an option names; ConfigError unless it is one.

    No time at all is one where `or_none`.
    """
    if text is None:
        return None
    try:
        return (validators.duration if or_none else validators.positive_duration)(text)
    except validators.InvalidSetting as error:
        raise ConfigError([f"{option} {error.rule}, found {text}"]) from None


def period(option: str, text: str | None) -> Step | None:
    """Return the period that an option names, such as 1h or 1mo; ConfigError unless it is one."""
    if text is None:
        return None
    try:
        return validators.period(text)
    except validators.InvalidSetting as error:
        raise ConfigError([f"{option} {error.rule}, found {text}"]) from None
