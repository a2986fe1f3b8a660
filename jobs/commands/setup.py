"""Before the first run: `init` and `config`."""

from typing import Annotated

import typer

from forecaster.config import dump
from forecaster.errors import ConfigError
from jobs.terminal.open_database import DEFAULT_DATABASE, Schema, opened
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, load
from jobs.terminal.output import data, say


def init(
    config: ConfigOption = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration file and create the database."""
    from forecaster.config.sample import SAMPLE

    if config.exists() and not force:
        raise ConfigError(
            [f"{config} already exists"],
            hint="edit it, or pass --force to overwrite it",
        )
    try:
        config.write_text(SAMPLE, encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{config} cannot be written: {error.strerror}"]) from error
    data(f"wrote {config}")
    with opened(DEFAULT_DATABASE, Schema.MADE):
        pass
    say(f"next: edit {config}, then `forecaster check`")


def config(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the effective configuration as TOML, passwords masked."""
    data(dump.to_toml(load(config)).rstrip("\n"))
