"""The target of `forecaster backtest`: a file, stdin, or a configured dataset."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from forecaster.config.settings import Config, DatasetConfig
from forecaster.errors import ConfigError
from forecaster.times.durations import Step
from jobs.backtest import inputs
from jobs.backtest.inputs import Mapped, Rows
from jobs.backtest.step import step_of, steps_in
from jobs.files.reader import Format, is_known
from jobs.terminal.file_options import FileOptions
from jobs.terminal.open_database import opened, require_landed
from jobs.terminal.options import load, zone
from jobs.terminal.output import say

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfFile:
    """The options for a file that is read without a configured dataset."""

    step: str | None
    file_format: Format | None
    options: FileOptions

    def read(
        self, source: Path | BinaryIO, horizon: str | None, *, may_split: bool = True
    ) -> tuple[Rows, Step, int]:
        """Return the rows, their step, and the horizon in steps; prints notes."""
        if horizon is None:
            raise ConfigError(
                ["--horizon is required for a file"],
                hint="for example --horizon 48h, or --horizon 48 for as many steps",
            )
        mapped = Mapped(
            columns=self.options.key(),
            timezone=zone(self.options.timezone),
            file_format=self.file_format,
            dialect=self.options.dialect,
            may_split=may_split,
            **self.options.spelling,
        )
        rows = inputs.of_file(source, mapped)
        for finding in rows.findings:
            say(f"note:  {finding.message}")
        step, notes = step_of(rows.observations, self.step)
        for note in notes:
            say(f"note:  {note}")
        return rows, step, steps_in("--horizon", horizon, step)

    def refuse(self, kind: str, others: Iterable[str] = ()) -> None:
        """Raise ConfigError if options for files are given for something else."""
        step = [] if self.step is None else ["--step"]
        file_format = [] if self.file_format is None else ["--format"]
        if given := [*step, *others, *self.options.given, *file_format]:
            raise ConfigError([f"{name} is only for files, found {kind}" for name in given])


@dataclass(frozen=True, slots=True)
class Changes:
    """Settings that are given by options, for a file or in place of those of a dataset."""

    horizon: str | None
    season: int | None
    lower_bound: float | None
    upper_bound: float | None

    def on(self, dataset: DatasetConfig) -> DatasetConfig:
        """Return the dataset with them; ConfigError if the bounds are not in order."""
        if self.season is not None:
            dataset = replace(dataset, model=replace(dataset.model, season_length=self.season))
        for name in ("lower_bound", "upper_bound"):
            bound = getattr(self, name)
            if bound is not None and not math.isfinite(bound):
                option = f"--{name.replace('_', '-')}"
                raise ConfigError([f"{option} must be a finite number, found {bound}"])
            dataset = dataset if bound is None else replace(dataset, **{name: bound})
        lower, upper = dataset.lower_bound, dataset.upper_bound
        if lower is not None and upper is not None and lower >= upper:
            raise ConfigError(
                [f"--lower-bound must be below the upper bound {upper:g}, found {lower:g}"]
            )
        return dataset


def subject(
    target: str, of_file: OfFile, changes: Changes, config: Path
) -> tuple[Rows, DatasetConfig]:
    """Return the rows of the target, and the settings of their dataset."""
    if target == STDIN or _is_file(target, of_file):
        if _is_dataset(target, config):
            say(f"{target} is read as a file; the dataset of the same name is ignored")
        return _file(target, of_file, changes)
    dataset, settings = _dataset(target, config)
    of_file.refuse("a dataset")
    if Path(target).is_file():
        say(f"{target} is read as a dataset; to read the file, pass --format")
    if changes.horizon is not None:
        steps = steps_in("--horizon", changes.horizon, dataset.step)
        dataset = replace(dataset, prediction_length=steps)
    dataset = changes.on(dataset)
    require_landed(settings.database_url, dataset.name)
    with opened(settings.database_url) as engine:
        return inputs.of_dataset(engine, dataset), dataset


def _is_file(target: str, of_file: OfFile) -> bool:
    path = Path(target)
    return path.is_file() and (of_file.file_format is not None or is_known(path))


def _is_dataset(target: str, config: Path) -> bool:
    """Return whether there is a valid configuration with such a dataset."""
    try:
        return config.exists() and target in load(config).datasets
    except ConfigError:
        return False


def _file(target: str, of_file: OfFile, changes: Changes) -> tuple[Rows, DatasetConfig]:
    source = sys.stdin.buffer if target == STDIN else Path(target)
    rows, step, steps = of_file.read(source, changes.horizon)
    options = of_file.options
    dataset = inputs.settings_of_file(rows, step, steps, zone(options.timezone))
    return rows, changes.on(replace(dataset, timestamp_marks=options.timestamp_marks))


def _dataset(target: str, config: Path) -> tuple[DatasetConfig, Config]:
    """Return a dataset of the configuration; ConfigError where there is none, nor a file."""
    path = Path(target)
    if path.is_file():
        kind = f"a file of unknown format{'' if path.suffix else ' (no suffix)'}"
        hint = "pass --format csv|parquet|ndjson"
    else:
        kind = "a folder" if path.is_dir() else "no such file"
        hint = "check the path"
    if not config.exists():
        problem = (
            f"{target} must be a file or a dataset, found {kind}, and no configuration {config}"
        )
        raise ConfigError([problem], hint=f"{hint}, or set the configuration with --config")
    settings = load(config)
    if target not in settings.datasets:
        known = ", ".join(settings.datasets) or "none"
        problem = f"{target} must be a file or a dataset, found {kind}, and datasets {known}"
        raise ConfigError([problem], hint=hint)
    return settings.datasets[target], settings
