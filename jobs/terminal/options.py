"""Options that several commands share, and how their values are parsed."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from forecaster.config import file, validators
from forecaster.config.file import ParsedConfig
from forecaster.config.settings import Config, DatasetConfig
from forecaster.errors import ConfigError
from forecaster.times.durations import Step
from jobs.execution import secret_filter

DEFAULT_CONFIG = Path("forecaster.toml")
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)

V = TypeVar("V")

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", envvar="FORECASTER_CONFIG", metavar="PATH", help="The configuration file."
    ),
]
DatasetArgument = Annotated[str | None, typer.Argument(help="Dataset name. Default: all datasets.")]
OneDatasetArgument = Annotated[
    str | None, typer.Argument(help="Dataset name. May be omitted if there is only one.")
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="ISO", help="Run the tick at this time, such as 2026-11-20T09:00Z."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def load(path: Path) -> Config:
    """Read the configuration; ConfigError lists all problems."""
    return drafted(path).finished()


def drafted(path: Path) -> ParsedConfig:
    """Read the valid part of the configuration; ConfigError if it is not a TOML file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            [f"configuration file {path} not found"],
            hint="create it with `forecaster init`, or pass its path with --config",
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
            [f"unknown dataset {name}, expected one of: {known}"], hint=f"add [datasets.{name}]"
        )
    return [config.datasets[name]]


def the_one(config: Config, name: str | None) -> DatasetConfig:
    """Return the dataset called `name`; it may be omitted when there is only one."""
    datasets = chosen(config, name)
    if len(datasets) != 1:
        known = ", ".join(config.datasets)
        raise ConfigError(
            ["a dataset name is required: there are several"], hint=f"choose one of: {known}"
        )
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
            [f"{option} must be an ISO 8601 time with an offset, found {text}"],
            hint="for example 2026-11-20T09:00:00Z or 2026-11-20T10:00:00+01:00",
        )
    # A recorded tick in the future would make the service skip all ticks until then.
    if not _EARLIEST <= at <= now():
        raise ConfigError([f"{option} must be between 1900 and now, found {text}"])
    return at.astimezone(UTC)


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def checked(option: str, text: str | None, read: validators.Reader[V]) -> V | None:
    """Return the value of an option, read as a setting is; ConfigError if it breaks a rule."""
    if text is None:
        return None
    try:
        return validators.read_with(read, text)
    except validators.InvalidSetting as error:
        raise ConfigError([f"{option} {error.rule}, found {text}{error.suggestion}"]) from None


def zone(name: str | None, option: str = "--timezone") -> str | None:
    """Return the name of a time zone; ConfigError unless it is one."""
    return checked(option, name, validators.timezone)


def duration(option: str, text: str | None, *, or_none: bool = False) -> timedelta | None:
    """Return the duration that an option gives; ConfigError unless it is one.

    Zero is allowed with `or_none`.
    """
    return checked(option, text, validators.duration if or_none else validators.positive_duration)


def period(option: str, text: str | None) -> Step | None:
    """Return the period that an option names, such as 1h or 1mo; ConfigError unless it is one."""
    return checked(option, text, validators.period)
