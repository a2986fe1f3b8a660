"""What `forecaster backtest` is pointed at: a file, stdin, or a dataset of the configuration."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecaster.config.settings import Config, DatasetConfig
from forecaster.errors import ConfigError
from jobs.terminal.open_database import opened, require_landed
from jobs.terminal.options import (
    SPELLING,
    WRITTEN,
    dialect,
    load,
    spelling,
)
from jobs.terminal.output import say

if TYPE_CHECKING:
    from jobs.backtest.inputs import Rows

STDIN = "-"
Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """Settings that are given by options, for a file or in place of those of a dataset."""

    horizon: str | None
    season: int | None
    lower_bound: float | None
    upper_bound: float | None

    def on(self, dataset: DatasetConfig) -> DatasetConfig:
        """Return the dataset with them; ConfigError where bounds leave nothing between them."""
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
    target: str, of_file: Options, changes: Changes, config: Path
) -> tuple["Rows", DatasetConfig]:
    """Return the rows that are meant, and the settings of their dataset."""
    if target == STDIN or _is_file(target, of_file):
        if _is_dataset(target, config):
            say(f"{target} is read as a file; the dataset of this name is not looked at")
        return _file(target, of_file, changes)
    dataset, settings = _dataset(target, config)
    given = [name for name, value in of_file.items() if value]
    if given:
        raise ConfigError([f"{name} must come with a file, found a dataset" for name in given])
    if Path(target).is_file():
        say(f"{target} is read as a dataset; for the file pass --format too")
    if changes.horizon is not None:
        from jobs.backtest.step import steps_in

        steps = steps_in("--horizon", changes.horizon, dataset.step)
        dataset = replace(dataset, prediction_length=steps)
    dataset = changes.on(dataset)
    return _landed(dataset, settings), dataset


def _is_file(target: str, of_file: Options) -> bool:
    from jobs.files.reader import is_known

    path = Path(target)
    return path.is_file() and (of_file["--format"] is not None or is_known(path))


def _is_dataset(target: str, config: Path) -> bool:
    """Tell whether a configuration, where there is a sound one, has such a dataset."""
    try:
        return config.exists() and target in load(config).datasets
    except ConfigError:
        return False


def _file(target: str, of_file: Options, changes: Changes) -> tuple["Rows", DatasetConfig]:
    from forecaster.ingestion.normalize import Columns
    from jobs.backtest import inputs
    from jobs.backtest.step import step_of, steps_in

    if changes.horizon is None:
        raise ConfigError(
            ["--horizon must be given with a file, found none"],
            hint="for example --horizon 48h, or --horizon 48 for as many steps",
        )
    usual = Columns()
    mapped = inputs.Mapped(
        columns=Columns(
            series=tuple(of_file["--series-column"] or usual.series),
            timestamp=of_file["--timestamp-column"] or usual.timestamp,
            value=of_file["--value-column"] or usual.value,
            ends=of_file["--timestamp-marks"] == "end",
        ),
        timezone=of_file["--timezone"],
        file_format=of_file["--format"],
        dialect=dialect(*(of_file[name] for name in WRITTEN)),
        **spelling(*(of_file[name] for name in SPELLING)),
    )
    source = sys.stdin.buffer if target == STDIN else Path(target)
    rows = inputs.of_file(source, mapped)
    for finding in rows.findings:
        say(f"note:  {finding.message}")
    step, notes = step_of(rows.observations, of_file["--step"])
    for note in notes:
        say(f"note:  {note}")
    steps = steps_in("--horizon", changes.horizon, step)
    dataset = inputs.settings_of_file(rows, step, steps, mapped.timezone)
    return rows, changes.on(replace(dataset, timestamp_marks=of_file["--timestamp-marks"]))


def _dataset(target: str, config: Path) -> tuple[DatasetConfig, Config]:
    """Return a dataset of the configuration; ConfigError where there is none, nor a file."""
    path = Path(target)
    if path.is_file():
        found = f"a file of unknown format{'' if path.suffix else ', without a suffix'}"
        hint = "pass --format csv|parquet|ndjson"
    else:
        found = "a folder" if path.is_dir() else "no such file"
        hint = "check the path"
    if not config.exists():
        problem = f"{target} must be a file or a dataset, found {found}, and no {config}"
        raise ConfigError([problem], hint=f"{hint}, or name a configuration with --config")
    settings = load(config)
    if target not in settings.datasets:
        known = ", ".join(settings.datasets) or "none"
        problem = f"{target} must be a file or a dataset, found {found}, and datasets {known}"
        raise ConfigError([problem], hint=hint)
    return settings.datasets[target], settings


def _landed(dataset: DatasetConfig, settings: Config) -> "Rows":
    from jobs.backtest import inputs

    require_landed(settings.database_url, dataset.name)
    with opened(settings.database_url) as engine:
        return inputs.of_dataset(engine, dataset)
