"""What `forecaster simulate` is asked for: which faults, of what, and where to try them."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from forecaster import settings
from forecaster.errors import ConfigError
from forecaster.intake import Columns
from forecaster.store import schema, written
from forecaster.store.engine import open_engine
from jobs.commands import processor, progress
from jobs.commands.opening import Schema, opened
from jobs.commands.options import load, the_one, zone
from jobs.simulation import script, simulation
from jobs.simulation.faults import Shares
from jobs.simulation.material import Extent, Material, of_dataset, of_file
from jobs.simulation.outages import What
from jobs.simulation.reports import SimulationReport
from jobs.simulation.script import Plan
from jobs.trainer import fit_in_child

_WHO: Mapping[str, What] = {"--outage": "source", "--down": "service"}
SHARES = ("late", "corrections", "gaps", "duplicates")
_FILES = {".csv", ".parquet", ".pq", ".ndjson", ".jsonl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Faults as they were asked for; None is the usual outage."""

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
    ) -> "Wishes":
        """Return what options ask for; ConfigError lists what makes no sense.

        `shares` are in the order of SHARES.
        """
        problems: list[str] = []
        found = [
            _share(f"--{name}", text, problems) for name, text in zip(SHARES, shares, strict=True)
        ]
        if not problems and sum(found) > 1:
            options = ", ".join(f"--{name}" for name in SHARES)
            problems = [f"{options} must be 100% at most together, found {sum(found):.0%}"]
        away = {_WHO[name]: _lengths(name, texts, problems) for name, texts in lengths.items()}
        if problems:
            raise ConfigError(problems)
        return cls(
            shares=Shares(**dict(zip(SHARES, found, strict=True))),
            away=away,
            zone=zone(dst, "--dst"),
            seed=seed,
        )

    def plan(self, material: Material) -> Plan:
        """Return what is to happen to `material`."""
        usual = [script.usual_outage(material)]
        away = [
            (who, length)
            for who, lengths in self.away.items()
            for length in (usual if lengths is None else lengths)
        ]
        return Plan(shares=self.shares, away=away, zone=self.zone, seed=self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfFile:
    """How to read a file, as options say."""

    step: str | None
    horizon: str | None
    timezone: str | None
    columns: tuple[Sequence[str] | None, str | None, str | None]
    """Those of the series, the timestamp and the value."""

    def material(self, path: Path, extent: Extent) -> Material:
        """Return the past in a file."""
        series, timestamp, value = self.columns
        columns = Columns(
            series=tuple(series or ("series_id",)),
            timestamp=timestamp or "timestamp",
            value=value or "value",
        )
        return of_file(
            path,
            extent,
            step=self.step,
            horizon=self.horizon,
            timezone=zone(self.timezone),
            columns=columns,
        )

    def refuse(self, target: str) -> None:
        """Raise ConfigError unless nothing is said of a file."""
        names = ("--series-column", "--timestamp-column", "--value-column")
        about = {
            "--step": self.step,
            "--horizon": self.horizon,
            "--timezone": self.timezone,
            **dict(zip(names, self.columns, strict=True)),
        }
        if given := [name for name, value in about.items() if value]:
            problems = [f"{name} must come with a file, found {target}" for name in given]
            raise ConfigError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Where both runs are to live."""

    keep: Path | None
    database: str | None
    config: Path

    @contextmanager
    def opened(self) -> Iterator[tuple[Engine, Path]]:
        """Give a store with our tables and nothing in them, and a folder for files.

        ConfigError for the configured database, StoreError for one that is not empty.
        """
        self._check()
        with tempfile.TemporaryDirectory(prefix="forecaster-simulate-") as name:
            file = self.keep or Path(name) / "scratch.db"
            engine = open_engine(self.database or f"sqlite:///{file}")
            try:
                written.require_empty(engine)
                schema.upgrade(engine)
                yield engine, Path(name)
            finally:
                engine.dispose()

    def _check(self) -> None:
        if self.keep is not None and self.database is not None:
            raise ConfigError(["--keep must not come with --database, found both"])
        if self.keep is not None and self.keep.exists():
            raise ConfigError([f"--keep must name a new file, found {self.keep}"])
        if self.database is None or not self.config.exists():
            return
        if load(self.config).database_url == self.database:
            raise ConfigError(["--database must not be the configured one, found it"])


def run(
    target: str, of_file: OfFile, extent: Extent, wishes: Wishes, scratch: Scratch
) -> SimulationReport:
    """Simulate the past of a dataset, or of a file if `target` is called like one."""
    processor.flush_denormals()
    with scratch.opened() as (engine, folder):
        material = _material(target, of_file, extent, scratch.config)
        with progress.training("training the model of both runs") as show:
            fit = partial(fit_in_child, on_progress=show)
            plan = wishes.plan(material)
            prepared = simulation.prepare(material, plan, engine, folder, fit=fit)
        with progress.counting() as count:
            return simulation.report(simulation.live(prepared, count))


def _material(target: str, of_file: OfFile, extent: Extent, config: Path) -> Material:
    path = Path(target)
    if path.suffix.lower() in _FILES:
        return of_file.material(path, extent)
    of_file.refuse(target)
    known = load(config)
    with opened(known.database_url, Schema.NEWEST) as engine:
        return of_dataset(engine, the_one(known, target), extent)


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
            found.append(settings.duration(text))
        except settings.Unfit as error:
            problems.append(f"{option} {error.rule}, found {text}")
    return [length for length in found if length]
