"""Audit a model in service: checks that are too slow for every retrain.

The trust figures are measured again on the current data, a network of the same settings has to find
a planted copy, and the same training with another seed has to attend to the same patches.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from sqlalchemy import Connection, Engine

from forecaster.config.settings import TrainingConfig
from forecaster.data.panel import Panel, build
from forecaster.explain import measure
from forecaster.explain.planted_test import STEPS, planted_mass
from forecaster.explain.report import Agreement, Trust
from forecaster.inference import checkpoint
from forecaster.inference.checkpoint import TrainedModel
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from forecaster.store.state import datasets, models
from forecaster.times.durations import Step
from forecaster.training.history_sample import draw
from jobs.retrain import Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """A model and the data that it was trained on."""

    model_id: int
    model: TrainedModel
    panel: Panel


def run(
    engine: Engine,
    dataset: str,
    *,
    training: TrainingConfig,
    plugins: Collection[str],
    fit: Fit,
    planted_steps: int = STEPS,
) -> Trust:
    """Measure the model in service, and store the figures with it. Takes as long as a retrain.

    NoChampion, or InsufficientHistory where its data are gone.
    """
    with reading(engine) as conn:
        audited = read(conn, dataset, plugins, training)
    model, panel = audited.model, audited.panel
    planted = planted_mass(model.spec, seed=training.seed, steps=planted_steps)
    trust = replace(measure.trust(model, panel), planted_mass=planted)
    if trust.seeds is None:  # an ensemble has compared its members
        twin = fit(panel, model.spec, replace(training, seed=training.seed + 1))
        trust = replace(trust, seeds=compare(model, twin.checkpoint, panel, plugins))
    with writing(engine) as conn:
        models.add_scores(conn, dataset, audited.model_id, trust.to_scores())
    return trust


def read(
    conn: Connection, dataset: str, plugins: Collection[str], training: TrainingConfig
) -> Audited:
    """Read the model in service, and the current values of what it was trained on."""
    stored, keys = models.champion(conn, dataset), datasets.keys(conn, dataset)
    model = checkpoint.loads(stored.weights, stored.sha256, plugins)
    since, until = stored.trained_from, stored.trained_to
    steps = (until - since) // Step.parse(model.spec.step).approximate + 1
    cells = observations.read_cells(conn, dataset, since=since, until=until, steps=steps)
    sample = draw(cells, keys, steps=steps, config=training)
    panel = build(
        observations.named(sample.cells, keys),
        model.spec.grid(),
        season_length=model.spec.season_length,
        scales=model.series_scale,
    )
    return Audited(model_id=stored.model_id, model=model, panel=panel)


def compare(
    model: TrainedModel, twin: bytes, panel: Panel, plugins: Collection[str]
) -> Agreement | None:
    """Return how similarly two seeds attend; None if their contexts differ in shape."""
    other = checkpoint.loads(twin, enabled=plugins)
    if other.spec.past_patches != model.spec.past_patches:
        return None
    windows = measure.newest_windows(panel, model.spec)
    with torch.inference_mode():
        outputs = [
            measure.forecast_function(trained.network)(windows) for trained in (model, other)
        ]
    return measure.agreement(*outputs)
