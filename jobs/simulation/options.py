"""Options of `forecaster simulate`: which faults, which data, which database."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from forecaster.errors import ConfigError, InsufficientHistory
from jobs.backtest.target import OfFile
from jobs.files import reader
from jobs.simulation import comparison, script
from jobs.simulation.faults import Shares
from jobs.simulation.inputs import Extent, SimulationInput, of_dataset, of_rows
from jobs.simulation.outages import What
from jobs.simulation.report import SimulationReport
from jobs.simulation.scratch import Scratch
from jobs.simulation.script import Plan
from jobs.terminal import cpu_settings, progress
from jobs.terminal.open_database import Schema, opened, require_landed
from jobs.terminal.options import duration, load, the_one, zone
from jobs.training_process.parent import fit_in_child

_OUTAGES: Mapping[str, What] = {"--outage": "source", "--down": "service"}


def plan(
    shares: Mapping[str, str],
    outages: Mapping[str, Sequence[str] | None],
    *,
    dst: str | None,
    seed: int,
) -> Plan:
    """Return the faults that options ask for; ConfigError lists all mistakes.

    `shares` are named as those of Shares; of `outages` None is one of the usual length.
    """
    problems: list[str] = []
    parsed = {name: _share(f"--{name}", text, problems) for name, text in shares.items()}
    if not problems and sum(parsed.values()) > 1:
        options = ", ".join(f"--{name}" for name in shares)
        problems.append(
            f"the sum of {options} must be at most 100%, found {sum(parsed.values()):.0%}"
        )
    lengths = [
        (_OUTAGES[option], length)
        for option, texts in outages.items()
        for length in ([None] if texts is None else _lengths(option, texts, problems))
    ]
    if problems:
        raise ConfigError(problems)
    return Plan(shares=Shares(**parsed), outages=lengths, zone=zone(dst, "--dst"), seed=seed)


def run(
    target: str,
    of_file: OfFile,
    horizon: str | None,
    extent: Extent,
    faults: Plan,
    scratch: Scratch,
) -> SimulationReport:
    """Simulate the past of a dataset, or of a file if `target` is a file name."""
    cpu_settings.flush_denormals()
    scratch.check()
    if _is_file(target, of_file):
        rows, step, steps = of_file.read(Path(target), horizon, may_split=False)
        replayed = of_rows(Path(target), rows, extent, of_file.options, step=step, steps=steps)
    else:
        of_file.refuse(target, ["--horizon"] if horizon else [])
        replayed = _of_dataset(target, extent, scratch.config)
    planned = script.write(replayed, faults)  # reports errors before anything is created
    with scratch.opened() as (engine, folder):
        try:
            with progress.training("training the model for both runs") as show:
                fit = partial(fit_in_child, on_progress=show)
                prepared = comparison.prepare(planned, engine, folder, fit=fit)
        except InsufficientHistory as error:
            hint = "pass fewer --ticks or a shorter --replay, or use a longer history"
            raise InsufficientHistory(error.message, hint=hint) from error
        with progress.counting() as count:
            return comparison.report(comparison.replay(prepared, count))


def _is_file(target: str, of_file: OfFile) -> bool:
    """Return whether `target` is a file; ConfigError for one of unknown format."""
    path = Path(target)
    if reader.is_known(path) or of_file.file_format is not None:
        return True
    if path.suffix and path.is_file():
        reader.format_of(path)
    return False


def _of_dataset(target: str, extent: Extent, config: Path) -> SimulationInput:
    settings = load(config)
    dataset = the_one(settings, target)
    require_landed(settings.database_url, dataset.name)
    with opened(settings.database_url, Schema.NEWEST) as engine:
        return of_dataset(engine, dataset, extent)


def _share(option: str, text: str, problems: list[str]) -> float:
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        problems.append(f"{option} must be a share such as 5% or 0.05, found {text}")
    return share


def _lengths(option: str, texts: Sequence[str], problems: list[str]) -> Iterator[timedelta]:
    """Yield the given durations that are not 0."""
    for text in texts:
        try:
            if length := duration(option, text, or_none=True):
                yield length
        except ConfigError as error:
            problems += error.problems
