"""A replay with faults beside one without, in one temporary database.

Both runs forecast with one model that is trained on clean history before: differences are due to
the data. `prepare` trains it, `replay` runs both, and `report` counts in the tables what they did.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import perf_counter

from sqlalchemy import Engine

from forecaster.config.settings import DatasetConfig
from forecaster.store.connection.engine import writing
from forecaster.store.state import models
from forecaster.store.state.models import NewModel
from jobs.execution.reports import RetrainReport
from jobs.retrain import Fit
from jobs.simulation import accuracy, counts, ledger
from jobs.simulation.report import SimulationReport
from jobs.simulation.script import Script
from jobs.simulation.service import SimulatedService
from jobs.simulation.source_file import QUERY, SourceFile
from jobs.stages.champions import Champions

CLEAN, DISTURBED = "clean", "disturbed"

OnWake = Callable[[str, int, int], None]
"""Called with the name of a run, its wake-ups done, and all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Both runs, by name."""

    engine: Engine
    script: Script
    runs: Mapping[str, SimulatedService]
    trained: RetrainReport
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of the runs that are over."""


def prepare(script: Script, engine: Engine, folder: Path, *, fit: Fit) -> Simulation:
    """Train a model on what is known at the first tick, for both runs.

    The database must have our tables and no datasets; sources become files in `folder`. Raises
    what the training fails with.
    """
    common = partial(SimulatedService, engine=engine, ticks=script.ticks, fit=fit)
    clean = SourceFile(folder / f"{CLEAN}.db", script.rows(script.clean))
    disturbed = SourceFile(folder / f"{DISTURBED}.db", script.rows(script.disturbed))
    zone, dataset = script.plan.zone, script.input.dataset
    there = _dataset(dataset, DISTURBED, disturbed.url)
    runs = {
        CLEAN: common(dataset=_dataset(dataset, CLEAN, clean.url), source=clean),
        DISTURBED: common(
            dataset=there if zone is None else replace(there, timezone=zone),
            source=disturbed,
            outages=script.outages,
        ),
    }
    trained = runs[CLEAN].train()
    _copy_champion(engine, runs[CLEAN].dataset, runs[DISTURBED].dataset)
    return Simulation(engine=engine, script=script, runs=runs, trained=trained)


def replay(simulation: Simulation, on_wake: OnWake = lambda _run, _done, _of: None) -> Simulation:
    """Run both, and return the same simulation. Raises what a job crashes with."""
    for name, run in simulation.runs.items():
        begun = perf_counter()
        run.run(partial(on_wake, name))
        simulation.seconds[name] = perf_counter() - begun
    return simulation


def report(simulation: Simulation) -> SimulationReport:
    """Count in the tables what both runs did, and compare their accuracy."""
    engine, script, trained = simulation.engine, simulation.script, simulation.trained
    names = {run: service.dataset.name for run, service in simulation.runs.items()}
    ticks = {
        CLEAN: ledger.read(engine, names[CLEAN], script.ticks),
        DISTURBED: ledger.read(engine, names[DISTURBED], script.ticks, script.excused),
    }
    owner = simulation.runs[CLEAN].dataset
    champion = Champions().serving(engine, owner, now=script.ticks[-1])
    compared = accuracy.compare(engine, list(names.values()), champion, script.input.truth)
    faults = counts.fault_lines(engine, names[DISTURBED], script, ticks[DISTURBED])
    return SimulationReport(
        dataset=script.input.dataset.name,
        seed=script.plan.seed,
        first=script.ticks[0],
        last=script.ticks[-1],
        series=script.known["series_id"].n_unique(),
        model_id=trained.model_id,
        trained_to=trained.trained_to,
        train_seconds=trained.train_seconds,
        faults=tuple(faults),
        ticks=ticks,
        differing=counts.count_differing(engine, names[DISTURBED], script),
        cutoffs=compared.cutoffs,
        scored=compared.scored,
        unscaled=compared.unscaled,
        accuracy=compared.lines,
        seconds=simulation.seconds,
    )


def _dataset(dataset: DatasetConfig, run: str, url: str) -> DatasetConfig:
    """Return the settings of a dataset for one run: its own source, and no jitter."""
    return replace(
        dataset,
        name=f"{dataset.name}_{run}",
        query=QUERY,
        source_url=url,
        series_columns=("series_id",),
        timestamp_column="timestamp",
        value_column="value",
        ingest_column=None,
        jitter=timedelta(0),
    )


def _copy_champion(engine: Engine, owner: DatasetConfig, other: DatasetConfig) -> None:
    """Put the champion of one dataset in service in another one too."""
    with writing(engine) as conn:
        champion = models.champion(conn, owner.name)
        copy = NewModel(
            config=champion.config,
            weights=champion.weights,
            sha256=champion.sha256,
            scores={name: score for name, score in champion.scores.items() if score is not None},
            trained_from=champion.trained_from,
            trained_to=champion.trained_to,
            parent_id=None,
            created_at=champion.created_at,
        )
        model_id = models.add(conn, other.name, copy)
        reason = f"that of {owner.name}"
        models.promote(conn, other.name, model_id, now=champion.created_at, reason=reason)
