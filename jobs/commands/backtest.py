"""`forecaster backtest`: the accuracy of the model on past data, compared with baselines."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from forecaster.config.settings import DatasetConfig
from jobs.terminal import cpu_settings, progress
from jobs.terminal.file_options import FileOptions, FormatOption, StepOption, takes_file_options
from jobs.terminal.interruption import ended_by_ctrl_c
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from jobs.terminal.output import PLAIN_WIDTH, as_json, say, show

if TYPE_CHECKING:
    from forecaster.training.estimator import Progress
    from jobs.backtest.inputs import Rows
    from jobs.backtest.plan import Plan
    from jobs.backtest.run import BacktestRequest, Outcome

Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE|DATASET",
        help="A CSV, Parquet or NDJSON file, - for stdin; or a configured dataset.",
    ),
]
Horizon = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="How far ahead to forecast, such as 48h, or a number of steps."
    ),
]
Season = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Season length in steps, 1 for none. Default: detected from the data.",
    ),
]
LowerBound = Annotated[
    float | None, typer.Option(metavar="NUMBER", help="Lower bound of all forecasts.")
]
UpperBound = Annotated[
    float | None, typer.Option(metavar="NUMBER", help="Upper bound of all forecasts.")
]
Windows = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Number of test windows, the latest ones. Default: up to 8."
    ),
]
WindowsAt = Annotated[
    Literal["common-end", "series-end"] | None,
    typer.Option(
        help="Where test windows end: at the latest row of all series, or of each. Default: of all."
    ),
]
Stride = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="Distance between windows. Default: the horizon."),
]
Baselines = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME,…", help="Baselines besides naive and seasonal_naive."),
]
NoNaive2 = Annotated[
    bool,
    typer.Option("--no-naive2", help="Skip Naive2 and OWA, which are slow on long series."),
]
Refit = Annotated[bool, typer.Option("--refit", help="Retrain before each window.")]
Seed = Annotated[int | None, typer.Option(metavar="N", min=0, help="Random seed of the training.")]
Seeds = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, help="Train this many times with consecutive seeds; metrics are means."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Write a report to a new .md, .json or .csv file."),
]
Forecasts = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Write all forecasts to a new .parquet, .csv or .ndjson file."
    ),
]


@takes_file_options
def backtest(
    target: Target, horizon: Horizon = None, step: StepOption = None,
    file_format: FormatOption = None, *, of_file: FileOptions, season: Season = None,
    lower_bound: LowerBound = None, upper_bound: UpperBound = None, windows: Windows = None,
    windows_at: WindowsAt = None, stride: Stride = None, baselines: Baselines = None,
    no_naive2: NoNaive2 = False, refit: Refit = False, seed: Seed = None, seeds: Seeds = 1,
    out: Out = None, forecasts: Forecasts = None, config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Measure accuracy on the history of a file or a dataset.

    A `split` column with the values train and test is used as the split. Nothing is written
    except the files of --out and --forecasts.
    """
    from forecaster.experiments import rivals
    from jobs.backtest.report import require_writable
    from jobs.backtest.run import BacktestRequest
    from jobs.backtest.step import steps_in
    from jobs.backtest.target import Changes, OfFile, subject

    require_writable(out, forecasts)
    names = [name.strip() for given in baselines or () for name in given.split(",")]
    rivals.require(names)
    wanted = BacktestRequest(
        windows=windows,
        windows_at=windows_at,
        baselines=names,
        naive2=not no_naive2,
        refit=refit,
        seed=seed,
        seeds=seeds,
    )
    read = OfFile(step=step, file_format=file_format, options=of_file)
    changes = Changes(horizon, season, lower_bound, upper_bound)
    with ended_by_ctrl_c("nothing was written"):
        rows, dataset = subject(target, read, changes, config)
        if stride is not None:
            wanted = replace(wanted, stride=steps_in("--stride", stride, dataset.step))
        outcome = _run(rows, dataset, wanted, forecasts)
        _report(outcome, out, forecasts, json=json)


def _run(
    rows: "Rows", dataset: DatasetConfig, wanted: "BacktestRequest", forecasts: Path | None
) -> "Outcome":
    from forecaster.experiments.stage import Listener
    from jobs.backtest import run as job
    from jobs.backtest.forecasts_file import written
    from jobs.backtest.plan import plan_facts

    def announce(plan: "Plan") -> None:
        """Report before the training what will be trained on and tested."""
        for label, text in plan_facts(plan):
            say(f"{label + ':':<13}{text}")

    cpu_settings.flush_denormals()
    cpu_settings.keep_to_one_core()
    kept = nullcontext() if forecasts is None else written(forecasts)
    with kept as keep, _Bars(rows.name) as bars, _warnings_reported():
        watch = Listener(training=bars.training, windows=bars.windows, forecasts=keep)
        return job.run(rows, dataset, wanted, on_plan=announce, watch=watch)


class _Bars(ExitStack):
    """Progress of each training, then of the windows; only the active one is shown."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._active = name, ""
        self._show: Callable[..., None] = lambda: None

    def training(self, at: "Progress") -> None:
        self._open(f"training on {self._name}", progress.training)
        self._show(at)

    def windows(self, done: int, total: int) -> None:
        self._open("windows forecast", lambda _: progress.counting())
        self._show("windows forecast", done, total)

    def _open(
        self, title: str, bar: Callable[[str], AbstractContextManager[Callable[..., None]]]
    ) -> None:
        if self._active != title:
            self.close()
            self._active, self._show = title, self.enter_context(bar(title))


@contextmanager
def _warnings_reported() -> Iterator[None]:
    """Report the warnings of baselines afterwards."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        say(f"note:  {text}")


def _report(outcome: "Outcome", out: Path | None, forecasts: Path | None, *, json: bool) -> None:
    from jobs.backtest.page import page
    from jobs.backtest.report import document, write

    if json:
        as_json(document(outcome))
    else:
        show(page(outcome), width=PLAIN_WIDTH)
    if out is not None:
        write(out, outcome)
        say(f"wrote {out}")
    if forecasts is not None:
        say(f"wrote {forecasts}")
