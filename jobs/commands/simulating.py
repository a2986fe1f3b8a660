"""What `forecaster simulate` is asked for: which faults, of what, and where to try them."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from forecaster import settings
from forecaster.errors import ConfigError
from forecaster.intake import Columns
from forecaster.store import schema, written
from forecaster.store.engine import open_engine
from jobs.commands.opening import Schema, opened
from jobs.commands.options import load, the_one, zone
from jobs.simulation import script
from jobs.simulation.faults import Shares
from jobs.simulation.material import Extent, Material, of_dataset, of_file
from jobs.simulation.outages import What
from jobs.simulation.script import Plan

_WHO: Mapping[str, What] = {"--outage": "source", "--down": "service"}
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
        shares: Mapping[str, str],
        lengths: Mapping[str, Sequence[str] | None],
        *,
        dst: str | None,
        seed: int,
    ) -> "Wishes":
        """Return what options ask for, by their names; ConfigError lists what makes no sense."""
        problems: list[str] = []
        found = {name: _share(name, text, problems) for name, text in shares.items()}
        if not problems and sum(found.values()) > 1:
            problems = [f"{', '.join(found)} must be 100% at most together, found {found}"]
        away = {_WHO[name]: _lengths(name, texts, problems) for name, texts in lengths.items()}
        if problems:
            raise ConfigError(problems)
        return cls(
            shares=Shares(**{name.removeprefix("--"): share for name, share in found.items()}),
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


def material(target: str, config: Path, extent: Extent, about: Mapping[str, Any]) -> Material:
    """Return the past of a dataset, or of a file if `target` is called like one.

    `about` are the options that say how to read a file; ConfigError where there is none.
    """
    path = Path(target)
    if path.suffix.lower() in _FILES:
        return of_file(
            path,
            extent,
            step=about["--step"],
            horizon=about["--horizon"],
            timezone=zone(about["--timezone"]),
            columns=Columns(
                series=tuple(about["--series-column"] or ("series_id",)),
                timestamp=about["--timestamp-column"] or "timestamp",
                value=about["--value-column"] or "value",
            ),
        )
    given = [name for name, value in about.items() if value]
    if given:
        raise ConfigError([f"{name} must come with a file, found {target}" for name in given])
    known = load(config)
    with opened(known.database_url, Schema.NEWEST) as engine:
        return of_dataset(engine, the_one(known, target), extent)


@contextmanager
def scratch(keep: Path | None, database: str | None, config: Path) -> Iterator[tuple[Engine, Path]]:
    """Give a store with our tables and nothing in them, and a folder for files.

    ConfigError for the configured database, StoreError for one that is not empty.
    """
    if keep is not None and database is not None:
        raise ConfigError(["--keep must not come with --database, found both"])
    if keep is not None and keep.exists():
        raise ConfigError([f"--keep must name a new file, found {keep}"])
    if database is not None and config.exists() and load(config).database_url == database:
        raise ConfigError(["--database must not be the configured one, found it"])
    with tempfile.TemporaryDirectory(prefix="forecaster-simulate-") as name:
        engine = open_engine(database or f"sqlite:///{keep or Path(name) / 'scratch.db'}")
        try:
            written.require_empty(engine)
            schema.upgrade(engine)
            yield engine, Path(name)
        finally:
            engine.dispose()


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
