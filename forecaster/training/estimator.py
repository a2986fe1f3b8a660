"""Training: a panel and a spec in, a model out; from scratch, on the CPU or one GPU."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean

import torch

from forecaster.config.settings import TrainingConfig
from forecaster.data.opening_detection import notes_on_hours
from forecaster.data.panel import Panel
from forecaster.errors import TrainingDiverged
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.device import choose_device, or_on_cpu
from forecaster.network.ensemble import Network, assemble
from forecaster.network.spec import ModelSpec
from forecaster.training.holdout import hold_out
from forecaster.training.hyperparameters import MANY_SERIES, variants
from forecaster.training.loop import Schedule, TrainedNetwork, Validate, train
from forecaster.training.sampling import cutoff_ranges
from forecaster.training.validation import Scores, Validation, ValidationResult

FEWEST_STEPS = 150
MOST_REPEATS = 40
"""How often a window may come back on average: fewer windows are trained on for fewer steps."""
SPARED = 0.1
"""Share of the history that may be left unlearnt. Training again on everything doubles the cost;
with a twentieth held out it changed the error by -1.4 to +3 %, which is noise between seeds."""
MATRIX_RATE = 2.0
"""Learning rate of matrices where there are many series. One series was forecast worse by 6 % on
validation windows with it, and its intervals were too narrow; three series were as before."""
COMPARISON = 0.25
"""Share of the steps after which variants of a model are compared."""
FEWEST_COMPARISON_STEPS = 30
"""With fewer steps variants are not compared: the first is taken."""
CLEARLY = 0.02
"""Variants that differ by less than this share may differ in their seed alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a training run; `loss` is that of the latest batch."""

    step: int
    steps: int
    """Planned in all: what ends early takes fewer."""
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained model and how it was made."""

    model: TrainedModel
    train_loss: float
    validation: Scores | None
    """None where the history is too short to hold anything out."""
    steps: int
    """Taken in all, those of variants that were not chosen included, but not those of a training
    that diverged. Windows are counted likewise."""
    seconds: float
    windows_per_second: float
    device: str
    notes: tuple[str, ...]
    """What did not go as planned: memory, divergence, an early end, a naive forecast in service."""


def fit(
    panel: Panel,
    spec: ModelSpec,
    config: TrainingConfig,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train on `panel`, which ends at the training cutoff; see `fit_one_of`."""
    return fit_one_of(panel, variants(spec), config, on_progress)


def fit_one_of(
    panel: Panel,
    candidates: Sequence[ModelSpec],
    config: TrainingConfig,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train the best of `candidates`, which must share their grid and prediction length.

    The last windows are held out. On them the candidates are compared after a short training,
    a training whose error rises is ended, and the model is compared with naive forecasts, one of
    which serves in its place if it is clearly better. Where these windows are a small part of the
    history the model they evaluated is the result; else it is trained again, for as many steps, on
    everything, the newest data included.

    Plug-ins of a spec are imported: it has to come from local config, as that of `prepare`.

    Raises InsufficientHistory, TrainingDiverged and, before any step is taken, UnusablePlugin. The
    global random state is left as found. A GPU whose memory runs out gives way to the CPU.
    """
    device = choose_device(config.device)
    result = or_on_cpu(device, partial(_fit, panel, candidates, config, on_progress))
    if result.device == str(device):
        return result
    note = f"out of memory on {device}: trained on {result.device}"
    return replace(result, notes=(note, *result.notes))


def _fit(
    panel: Panel,
    candidates: Sequence[ModelSpec],
    config: TrainingConfig,
    on_progress: Callable[[Progress], None] | None,
    device: torch.device,
) -> TrainingResult:
    started, spec = time.perf_counter(), candidates[0]
    on_device = replace(panel, deviations=panel.deviations.to(device))
    holdout = hold_out(panel, spec)
    again = holdout.share_of(panel) > SPARED
    known, validation = holdout.rest_of(on_device), Validation(on_device, holdout)
    work = _Work(plan(config, panel, spec), config, on_progress)
    compared = work.worth_comparing(candidates) if holdout.windows else ()
    work.expect(compared=len(compared), trainings=2 if again else 1)

    if compared:
        errors = [work.error_of_variant(known, variant, validation.error) for variant in compared]
        spec = compared[clearly_least(errors)]
    members = work.train(known, spec, validation.error if holdout.windows else None)
    result = validation.evaluate(_network(members), guarded=config.naive_guard)
    if again:
        members = work.train_again(on_device, spec, members)

    seconds = time.perf_counter() - started
    return TrainingResult(
        model=_model(panel, spec, members, result),
        train_loss=mean(member.loss for member in members),
        validation=result.scores,
        steps=work.steps,
        seconds=seconds,
        windows_per_second=work.windows / seconds,
        device=str(device),
        notes=(*notes_on_hours(panel), *work.notes, *result.notes),
    )


def clearly_least(errors: Sequence[float]) -> int:
    """Return the place of the least error, or of the first where that is hardly larger."""
    least = min(errors)
    return errors.index(least) if least < (1 - CLEARLY) * errors[0] else 0


class _Work:
    """The trainings behind one model: their common progress, and their notes."""

    def __init__(
        self,
        schedule: Schedule,
        config: TrainingConfig,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._schedule, self._on_progress, self._planned = schedule, on_progress, 0
        self._short_schedule = replace(schedule, steps=max(1, round(COMPARISON * schedule.steps)))
        self._seeds = range(config.seed, config.seed + config.ensemble)
        self.steps, self.windows = 0, 0
        self.notes: tuple[str, ...] = ()

    def expect(self, *, compared: int, trainings: int) -> None:
        """Announce the planned steps."""
        self._planned = compared * self._short_schedule.steps
        self._planned += trainings * len(self._seeds) * self._schedule.steps

    def worth_comparing(self, candidates: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
        """Return the candidates where there are several, and steps enough to compare them."""
        worth = len(candidates) > 1 and self._short_schedule.steps >= FEWEST_COMPARISON_STEPS
        return candidates if worth else ()

    def error_of_variant(self, panel: Panel, spec: ModelSpec, validate: Validate) -> float:
        """Return the error of a variant after a short training; infinite if it diverges."""
        try:
            trained = train(panel, spec, self._short_schedule, self._seeds[0], None, self._report)
        except TrainingDiverged:
            return math.inf
        self._count(trained)
        return validate(trained.network)

    def train(
        self, panel: Panel, spec: ModelSpec, validate: Validate | None
    ) -> list[TrainedNetwork]:
        """Train one network per seed, with validation."""
        return [self._train(panel, spec, self._schedule, seed, validate) for seed in self._seeds]

    def train_again(
        self, panel: Panel, spec: ModelSpec, validated: list[TrainedNetwork]
    ) -> list[TrainedNetwork]:
        """Train all of them on more data, for as many steps as the validated ones took."""
        schedules = [replace(self._schedule, steps=member.steps) for member in validated]
        plans = zip(schedules, self._seeds, strict=True)
        return [self._train(panel, spec, schedule, seed, None) for schedule, seed in plans]

    def _train(
        self,
        panel: Panel,
        spec: ModelSpec,
        schedule: Schedule,
        seed: int,
        validate: Validate | None,
    ) -> TrainedNetwork:
        trained = train(panel, spec, schedule, seed, validate, self._report)
        self._count(trained)
        self.notes = tuple(dict.fromkeys((*self.notes, *trained.notes)))
        return trained

    def _count(self, trained: TrainedNetwork) -> None:
        self.steps += trained.taken
        self.windows += trained.windows

    def _report(self, step: int, loss: float) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(step=self.steps + step, steps=self._planned, loss=loss))


def _model(
    panel: Panel, spec: ModelSpec, members: Sequence[TrainedNetwork], result: ValidationResult
) -> TrainedModel:
    return TrainedModel(
        spec=spec,
        network=_network(members).cpu().eval(),
        series_scale=dict(zip(panel.series_ids, panel.scale.tolist(), strict=True)),
        fallback=result.fallback,
    )


def _network(members: Sequence[TrainedNetwork]) -> Network:
    return assemble([member.network for member in members])


def plan(config: TrainingConfig, panel: Panel, spec: ModelSpec) -> Schedule:
    """Return how long to train: more for more series, less where windows would only repeat."""
    many = len(panel) >= MANY_SERIES
    batch_size = config.batch_size or (256 if many else 128)
    repeats = MOST_REPEATS * cutoff_ranges(panel, spec).total // batch_size
    steps = config.steps or min(2000 if many else 700, max(FEWEST_STEPS, repeats))
    return Schedule(
        steps=steps,
        batch_size=batch_size,
        learning_rate=config.learning_rate,
        matrix_rate=MATRIX_RATE if many else 1.0,
    )
