"""`forecaster backtest`: how right the model would have been, beside forecasts without training."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.config import Config, DatasetConfig
from forecaster.errors import ConfigError
from jobs.commands import processor, progress
from jobs.commands.opening import opened, require_landed
from jobs.commands.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    FormatOption,
    JsonOption,
    MarksOption,
    SeriesColumns,
    StepOption,
    TimestampColumn,
    ValueColumn,
    Zone,
    load,
    zone,
)
from jobs.commands.output import PLAIN_WIDTH, as_json, say, show

if TYPE_CHECKING:
    from forecaster.training import Progress
    from forecaster.trial import Watch
    from jobs.backtest import Outcome, Wanted
    from jobs.backtest_rows import Rows

INTERRUPTED = 130
STDIN = "-"
Options = Mapping[str, Any]


Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE|DATASET",
        help="CSV, Parquet or NDJSON, - is stdin; or a dataset of the configuration.",
    ),
]
Horizon = Annotated[
    str | None, typer.Option(help="How far ahead, such as 48h, or a number of steps.")
]
Windows = Annotated[
    int | None, typer.Option(min=1, help="How many, the newest; left out: at most 8.")
]
Stride = Annotated[
    str | None, typer.Option(help="From one window to the next; left out: the horizon.")
]
Baselines = Annotated[
    list[str] | None, typer.Option(metavar="NAME,...", help="More than naive and seasonal_naive.")
]
Refit = Annotated[bool, typer.Option("--refit", help="Train again before each window.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the training.")]
Out = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Write a report, a new .md, .json or .csv.")
]


def backtest(
    target: Target,
    horizon: Horizon = None,
    step: StepOption = None,
    series_column: SeriesColumns = None,
    timestamp_column: TimestampColumn = None,
    value_column: ValueColumn = None,
    timezone: Zone = None,
    timestamp_marks: MarksOption = None,
    file_format: FormatOption = None,
    windows: Windows = None,
    stride: Stride = None,
    baselines: Baselines = None,
    refit: Refit = False,
    seed: Seed = None,
    out: Out = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Say how right the model would have been on the past of a file or dataset.

    A column `split` of train and test is honoured. Nothing is written but --out.
    """
    from forecaster import rivals
    from jobs.backtest import Wanted
    from jobs.backtest_report import require_suffix

    require_suffix(out)
    names = [name.strip() for given in baselines or () for name in given.split(",")]
    rivals.require(names)
    wanted = Wanted(windows=windows, baselines=names, refit=refit, seed=seed)
    of_file = {
        "--step": step,
        "--series-column": series_column,
        "--timestamp-column": timestamp_column,
        "--value-column": value_column,
        "--timezone": zone(timezone),
        "--timestamp-marks": timestamp_marks,
        "--format": file_format,
    }
    with _leaving():
        rows, dataset = _subject(target, of_file, horizon, config)
        outcome = _run(rows, dataset, wanted, stride)
        _tell(outcome, out, json=json)


@contextmanager
def _leaving() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; nothing was written")
        raise typer.Exit(INTERRUPTED) from None


def _subject(
    target: str, of_file: Options, horizon: str | None, config: Path
) -> tuple["Rows", DatasetConfig]:
    """Return the rows that are meant, and the settings of their dataset."""
    if target == STDIN or _is_file(target, of_file):
        if _is_dataset(target, config):
            say(f"{target} is read as a file; the dataset of this name is not looked at")
        return _file(target, of_file, horizon)
    dataset, settings = _dataset(target, config)
    given = [name for name, value in of_file.items() if value]
    if given:
        raise ConfigError([f"{name} must come with a file, found a dataset" for name in given])
    if Path(target).is_file():
        say(f"{target} is read as a dataset; for the file pass --format too")
    if horizon is not None:
        from jobs.backtest_step import steps_in

        dataset = replace(dataset, prediction_length=steps_in("--horizon", horizon, dataset.step))
    return _landed(dataset, settings), dataset


def _is_file(target: str, of_file: Options) -> bool:
    from jobs.files import is_known

    path = Path(target)
    return path.is_file() and (of_file["--format"] is not None or is_known(path))


def _is_dataset(target: str, config: Path) -> bool:
    """Tell whether a configuration, where there is a sound one, has such a dataset."""
    try:
        return config.exists() and target in load(config).datasets
    except ConfigError:
        return False


def _file(target: str, of_file: Options, horizon: str | None) -> tuple["Rows", DatasetConfig]:
    from forecaster.intake import Columns
    from jobs import backtest_rows
    from jobs.backtest_step import step_of, steps_in

    if horizon is None:
        raise ConfigError(
            ["--horizon must be given with a file, found none"],
            hint="for example --horizon 48h, or --horizon 48 for as many steps",
        )
    usual = Columns()
    mapped = backtest_rows.Mapped(
        columns=Columns(
            series=tuple(of_file["--series-column"] or usual.series),
            timestamp=of_file["--timestamp-column"] or usual.timestamp,
            value=of_file["--value-column"] or usual.value,
            ends=of_file["--timestamp-marks"] == "end",
        ),
        timezone=of_file["--timezone"],
        file_format=of_file["--format"],
    )
    source = sys.stdin.buffer if target == STDIN else Path(target)
    rows = backtest_rows.of_file(source, mapped)
    for finding in rows.findings:
        say(f"note:  {finding.message}")
    step, notes = step_of(rows.observations, of_file["--step"])
    for note in notes:
        say(f"note:  {note}")
    steps = steps_in("--horizon", horizon, step)
    dataset = backtest_rows.settings_of_file(rows, step, steps, mapped.timezone)
    return rows, replace(dataset, timestamp_marks=of_file["--timestamp-marks"])


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
    from jobs import backtest_rows

    require_landed(settings.database_url, dataset.name)
    with opened(settings.database_url) as engine:
        return backtest_rows.of_dataset(engine, dataset)


def _run(rows: "Rows", dataset: DatasetConfig, wanted: "Wanted", stride: str | None) -> "Outcome":
    from jobs import backtest as job
    from jobs.backtest_step import steps_in

    processor.flush_denormals()
    processor.keep_to_one_core()
    if stride is not None:
        wanted = replace(wanted, stride=steps_in("--stride", stride, dataset.step))
    with _watching(rows.name) as watch, _warnings_said():
        return job.run(rows, dataset, wanted, watch=watch)


@contextmanager
def _watching(name: str) -> Iterator["Watch"]:
    """Show each training, and after it the windows that predictors are done with."""
    from forecaster.trial import Watch

    with ExitStack() as shown:
        bars = _Bars(name, shown)
        yield Watch(training=bars.training, windows=bars.windows)


class _Bars:
    """Two bars, of which the one that is not moving is not there."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._name, self._stack = name, stack
        self._training: Callable[[Progress], None] | None = None
        self._windows: Callable[[str, int, int], None] | None = None

    def training(self, at: "Progress") -> None:
        if self._training is None:
            self._stack.close()
            self._windows = None
            shown = progress.training(f"training on {self._name}")
            self._training = self._stack.enter_context(shown)
        self._training(at)

    def windows(self, done: int, whole: int) -> None:
        if self._windows is None:
            self._stack.close()
            self._training = None
            self._windows = self._stack.enter_context(progress.counting())
        self._windows("windows forecast", done, whole)


@contextmanager
def _warnings_said() -> Iterator[None]:
    """Say afterwards what a baseline warned of."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for text in dict.fromkeys(str(each.message) for each in caught):
        say(f"note:  {text}")


def _tell(outcome: "Outcome", out: Path | None, *, json: bool) -> None:
    from jobs.backtest_report import document, write
    from jobs.commands.backtesting import page

    if json:
        as_json(document(outcome))
    else:
        show(page(outcome), width=PLAIN_WIDTH)
    if out is not None:
        write(out, outcome)
        say(f"wrote {out}")
