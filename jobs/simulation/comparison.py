"""A replay with faults beside one without, in one scratch store.

Both runs forecast with one model, which is trained before on clean history: what differs is due to
the data. First `prepare`, then `live` through both; `report` recounts from the tables what became
of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter

from sqlalchemy import Engine

from forecaster.config.settings import Config, DatasetConfig, RetentionConfig
from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import export
from forecaster.store.state import models
from forecaster.store.state.models import NewModel
from jobs import catalog
from jobs.execution.reports import RetrainReport
from jobs.execution.runner import run_job
from jobs.retrain import Fit
from jobs.simulation import ledger
from jobs.simulation.counts import Disturbed
from jobs.simulation.inputs import SimulationInput
from jobs.simulation.replay import SimulatedService, Source
from jobs.simulation.report import SimulationReport
from jobs.simulation.score import Comparison, Scorer
from jobs.simulation.script import Plan, Script, write
from jobs.simulation.source_file import QUERY, SourceFile
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache

CLEAN, DISTURBED = "clean", "disturbed"
RUNS = (CLEAN, DISTURBED)
FOREVER = RetentionConfig(forecasts=None, attention=None, accuracy=None, runs=None)

OnWake = Callable[[str, int, int], None]
"""Told which run has done how many of how many alarms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Both runs, by name."""

    engine: Engine
    material: SimulationInput
    plan: Plan
    script: Script
    lives: Mapping[str, SimulatedService]
    trained: RetrainReport
    seconds: dict[str, float] = field(default_factory=dict)
    """How long the runs took that are over."""


def prepare(
    material: SimulationInput, plan: Plan, engine: Engine, folder: Path, *, fit: Fit
) -> Simulation:
    """Write the script, and train a model on what is known at the first tick, for both runs.

    The store must have our tables and no datasets; sources become files in `folder`. Raises what
    the training fails with.
    """
    script = write(material, plan)
    lives = _lives(material, script, engine, folder, fit)
    trained = _train(lives[CLEAN])
    _adopt(engine, lives[CLEAN].dataset, lives[DISTURBED].dataset)
    return Simulation(
        engine=engine, material=material, plan=plan, script=script, lives=lives, trained=trained
    )


def live(prepared: Simulation, on_wake: OnWake = lambda _run, _done, _of: None) -> Simulation:
    """Live through the ticks twice, and return the same simulation. Raises what a job crashes
    with."""
    for name, life in prepared.lives.items():
        begun = perf_counter()
        life.run(partial(on_wake, name))
        prepared.seconds[name] = perf_counter() - begun
    return prepared


def report(done: Simulation) -> SimulationReport:
    """Say what became of both runs, as the tables of the store tell now."""
    script, names = done.script, {name: each.dataset.name for name, each in done.lives.items()}
    away = {CLEAN: (), DISTURBED: script.away}
    ticks = {name: ledger.read(done.engine, names[name], script.ticks, away[name]) for name in RUNS}
    disturbed = Disturbed(engine=done.engine, dataset=names[DISTURBED], script=script)
    compared = _compared(done)
    return SimulationReport(
        dataset=done.material.dataset.name,
        seed=done.plan.seed,
        first=script.ticks[0],
        last=script.ticks[-1],
        series=script.known["series_id"].n_unique(),
        model_id=done.trained.model_id,
        trained_to=done.trained.trained_to,
        train_seconds=done.trained.train_seconds,
        faults=tuple(disturbed.lines(ticks[DISTURBED])),
        ticks=ticks,
        differing=disturbed.differing(),
        cutoffs=compared.cutoffs,
        judged=compared.judged,
        unscaled=compared.unscaled,
        accuracy=compared.lines,
        seconds=done.seconds,
    )


def _lives(
    material: SimulationInput, script: Script, engine: Engine, folder: Path, fit: Fit
) -> dict[str, SimulatedService]:
    injections = {CLEAN: script.clean, DISTURBED: script.disturbed}
    files = {name: SourceFile(folder / f"{name}.db") for name in RUNS}
    datasets = {name: _dataset(material.dataset, name, files[name].url) for name in RUNS}
    if script.zone is not None:
        datasets[DISTURBED] = replace(datasets[DISTURBED], timezone=script.zone)
    config = Config(
        database_url="",
        datasets={each.name: each for each in datasets.values()},
        retention=FOREVER,
    )
    return {
        name: SimulatedService(
            engine=engine,
            dataset=datasets[name],
            config=config,
            source=Source(files[name], script.rows(injections[name])),
            ticks=script.ticks,
            fit=fit,
            troubles=script.troubles if name == DISTURBED else (),
        )
        for name in RUNS
    }


def _dataset(dataset: DatasetConfig, name: str, url: str) -> DatasetConfig:
    """Return a dataset as it is configured, but for where its rows come from, and punctual."""
    return replace(
        dataset,
        name=f"{dataset.name}_{name}",
        query=QUERY,
        source_url=url,
        series_columns=("series_id",),
        timestamp_column="timestamp",
        value_column="value",
        ingest_column=None,
        jitter=timedelta(0),
    )


def _train(life: SimulatedService) -> RetrainReport:
    job = catalog.jobs(life.config, champions=Champions(), panels=PanelCache(), fit=life.fit)[
        "retrain"
    ]
    life.source.show(life.ticks[0])
    outcome = run_job(
        job,
        life.engine,
        life.dataset,
        tick=life.ticks[0],
        clock=life.clock,
        observe=lambda _: None,
    )
    if outcome.error is not None:
        raise outcome.error
    assert isinstance(outcome.report, RetrainReport)
    return outcome.report


def _adopt(engine: Engine, owner: DatasetConfig, twin: DatasetConfig) -> None:
    """Put the champion of one dataset in service in another one too."""
    with writing(engine) as conn:
        found = models.champion(conn, owner.name)
        model_id = models.add(
            conn,
            twin.name,
            NewModel(
                config=found.config,
                weights=found.weights,
                sha256=found.sha256,
                scores={name: each for name, each in found.scores.items() if each is not None},
                trained_from=found.trained_from,
                trained_to=found.trained_to,
                parent_id=None,
                created_at=found.created_at,
            ),
        )
        reason = f"that of {owner.name}"
        models.promote(conn, twin.name, model_id, now=found.created_at, reason=reason)


def _compared(done: Simulation) -> Comparison:
    """Judge both runs by all that is known, on the points that both have forecast."""
    engine, names = done.engine, [done.lives[name].dataset.name for name in RUNS]
    owner = done.lives[CLEAN].dataset
    champion = Champions().serving(engine, owner, now=done.script.ticks[-1])
    bench = Scorer(champion, done.material.truth)
    clean, disturbed = (bench.judge(engine, name, _cutoffs(engine, name)) for name in names)
    return bench.compare(clean, disturbed)


def _cutoffs(engine: Engine, dataset: str) -> Sequence[datetime]:
    with reading(engine) as conn:
        return export.by_cutoff(conn, dataset)["cutoff"].to_list()
