"""Options of `forecaster simulate`: which faults, which data, which database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from forecaster.config import validators
from forecaster.errors import ConfigError, InsufficientHistory
from jobs.backtest.target import OfFile
from jobs.files import reader
from jobs.simulation import comparison, script
from jobs.simulation.comparison import Simulation
from jobs.simulation.faults import Shares
from jobs.simulation.inputs import (
    Extent,
    SimulationInput,
    of_dataset,
    of_rows,
)
from jobs.simulation.outages import What
from jobs.simulation.report import SimulationReport
from jobs.simulation.scratch import Scratch
from jobs.simulation.script import Plan
from jobs.terminal import cpu_settings, progress
from jobs.terminal.open_database import Schema, opened, require_landed
from jobs.terminal.options import (
    duration,
    load,
    the_one,
    zone,
)
from jobs.training_process.parent import fit_in_child

_WHO: Mapping[str, What] = {"--outage": "source", "--down": "service"}
SHARES = ("late", "corrections", "gaps", "duplicates")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedFaults:
    """Requested faults; None is the default outage."""

    shares: Shares
    away: Mapping[What, Sequence[timedelta] | None]
    zone: str | None
    seed: int

    @classmethod
    def read(
        cls,
        shares: Sequence[str],
        lengths: Mapping[str, Sequence[str] | None],
        *,
        dst: str | None,
        seed: int,
    ) -> "RequestedFaults":
        """Parse the options; ConfigError lists all mistakes.

        `shares` are in the order of SHARES.
        """
        problems: list[str] = []
        found = [
            _share(f"--{name}", text, problems) for name, text in zip(SHARES, shares, strict=True)
        ]
        if not problems and sum(found) > 1:
            options = ", ".join(f"--{name}" for name in SHARES)
            problems = [f"the sum of {options} must be at most 100%, found {sum(found):.0%}"]
        away = {_WHO[name]: _lengths(name, texts, problems) for name, texts in lengths.items()}
        if problems:
            raise ConfigError(problems)
        return cls(
            shares=Shares(**dict(zip(SHARES, found, strict=True))),
            away=away,
            zone=zone(dst, "--dst"),
            seed=seed,
        )

    def plan(self, material: SimulationInput) -> Plan:
        """Return what is to happen to `material`."""
        usual = [script.usual_outage(material)]
        away = [
            (who, length)
            for who, lengths in self.away.items()
            for length in (usual if lengths is None else lengths)
        ]
        return Plan(shares=self.shares, away=away, zone=self.zone, seed=self.seed)


def extent(ticks: int | None, replay: str | None) -> Extent:
    """Return how much is to be replayed; ConfigError if both are given."""
    if ticks is not None and replay is not None:
        raise ConfigError(["--ticks and --replay are mutually exclusive"])
    return Extent(replay=duration("--replay", replay), ticks=ticks)


def run(
    target: str,
    of_file: OfFile,
    horizon: str | None,
    extent: Extent,
    wishes: RequestedFaults,
    scratch: Scratch,
) -> SimulationReport:
    """Simulate the past of a dataset, or of a file if `target` is a file name."""
    cpu_settings.flush_denormals()
    scratch.check()
    if _is_file(target, of_file):
        material = _of_file(Path(target), of_file, horizon, extent)
    else:
        of_file.refuse(target, ["--horizon"] if horizon else [])
        material = _of_dataset(target, extent, scratch.config)
    plan = wishes.plan(material)
    script.write(material, plan)  # reports errors before anything is created
    with scratch.opened() as (engine, folder):
        prepared = _prepared(material, plan, engine, folder)
        with progress.counting() as count:
            return comparison.report(comparison.live(prepared, count))


def _prepared(material: SimulationInput, plan: Plan, engine: Engine, folder: Path) -> Simulation:
    try:
        with progress.training("training the model for both runs") as show:
            fit = partial(fit_in_child, on_progress=show)
            return comparison.prepare(material, plan, engine, folder, fit=fit)
    except InsufficientHistory as error:
        hint = "pass fewer --ticks or a shorter --replay, or use a longer history"
        raise InsufficientHistory(error.message, hint=hint) from error


def _is_file(target: str, of_file: OfFile) -> bool:
    """Tell whether `target` is a file; ConfigError for one of unknown format."""
    path = Path(target)
    if reader.is_known(path) or of_file.file_format is not None:
        return True
    if path.suffix and path.is_file():
        reader.format_of(path)
    return False


def _of_file(path: Path, of_file: OfFile, horizon: str | None, extent: Extent) -> SimulationInput:
    rows, step, steps = of_file.read(path, horizon, may_split=False)
    return of_rows(path, rows, extent, of_file.options, step=step, steps=steps)


def _of_dataset(target: str, extent: Extent, config: Path) -> SimulationInput:
    known = load(config)
    dataset = the_one(known, target)
    require_landed(known.database_url, dataset.name)
    with opened(known.database_url, Schema.NEWEST) as engine:
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


def _lengths(
    option: str, texts: Sequence[str] | None, problems: list[str]
) -> Sequence[timedelta] | None:
    if texts is None:
        return None
    found = []
    for text in texts:
        try:
            found.append(validators.duration(text))
        except validators.InvalidSetting as error:
            problems.append(f"{option} {error.rule}, found {text}")
    return [length for length in found if length]
