"""The training loop of one network, validated on windows that are held out.

The error on a few held-out windows is noisy, and a learning rate that falls to nothing makes the
last weights the best ones on new data. Measured over two seeds, ten windows a series: on etth1 the
least of ten validation errors pointed at weights that were 1.3 and 1.9 % worse on the test windows
than the last ones, on exchange_rate .5 and 2.5 %, and on bike_sharing it was the last. So only a
clear rise ends a training or brings earlier weights back: none of the three does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn

from forecaster.data.panel import Panel
from forecaster.errors import TrainingDiverged
from forecaster.inference.device import SMALLEST_BATCH
from forecaster.network import plugins
from forecaster.network.network import AttentionLSTM
from forecaster.network.spec import ModelSpec
from forecaster.training.loss import weighted_pinball
from forecaster.training.optimizers import Optimisers
from forecaster.training.sampling import Batch, Sampler

LARGEST_GRADIENT = 1.0
REPORT_EVERY = 25
VALIDATIONS = 10
"""Most validations during a training, unless that is one every few steps."""
CLEARLY = 0.05
"""An error this much above the least one is no noise."""
PATIENCE = 3
"""Validations in a row clearly above the least one that end a training."""
EXPLODED = 1000.0
"""A typical loss this many times the first one, or seasonal errors, does not recover."""
_EARLY = "early stopping: the validation error rose after step {}, whose weights are kept"
SLOWER = 0.1
"""Learning rate of the second attempt, as a share of the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How much work one training is."""

    steps: int
    batch_size: int
    learning_rate: float
    matrix_rate: float = 1.0
    """Learning rate of the matrices inside the network, in units of that of all else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNetwork:
    """A trained network and how it came about."""

    network: AttentionLSTM
    loss: float
    """Mean over the latest batches."""
    steps: int
    """Those that made these weights."""
    taken: int
    """Those, and the ones after them that were given up."""
    windows: int
    notes: tuple[str, ...]
    """What did not go as planned."""


Validate = Callable[[AttentionLSTM], float]
"""The error of a network on windows held out; infinite where it cannot be evaluated."""
Report = Callable[[int, float], None]
"""Called with the step and the mean loss since the last call."""


def train(
    panel: Panel,
    spec: ModelSpec,
    schedule: Schedule,
    seed: int,
    validate: Validate | None,
    report: Report,
) -> TrainedNetwork:
    """Train a network on every window of `panel`, on its device.

    One that diverges is trained again with a tenth of the learning rate. Raises TrainingDiverged
    if that does not help, and OutOfMemoryError where not even small batches fit. The global
    random state is left as found.
    """

    def attempt(tried: Schedule) -> TrainedNetwork:
        device = panel.deviations.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)  # initial weights and dropout draw from the global state
            parts = plugins.load(spec)
            plugins.try_on(spec, parts)
            network = AttentionLSTM(spec, parts).to(device)
            sampler = Sampler(panel, spec, torch.Generator(device).manual_seed(seed))
            return learn(network, sampler.draw, tried, validate, report)

    try:
        return attempt(schedule)
    except TrainingDiverged:
        slower = replace(schedule, learning_rate=SLOWER * schedule.learning_rate)
    trained = attempt(slower)
    note = f"diverged at learning rate {schedule.learning_rate:g}; retried with a tenth of it"
    return replace(trained, notes=(note, *trained.notes))


def learn(
    network: AttentionLSTM,
    draw: Callable[[int], Batch],
    schedule: Schedule,
    validate: Validate | None,
    report: Report,
) -> TrainedNetwork:
    """Take the steps of `schedule` on batches that `draw` gives, fewer if the error rises."""
    trainer, early_stopping = Trainer(network, draw, schedule), EarlyStopping(network)
    validations = min(VALIDATIONS, schedule.steps // REPORT_EVERY)
    validated_at = {round(schedule.steps * k / validations) for k in range(1, validations + 1)}
    loss, step, should_stop = math.nan, 0, False
    while not should_stop:
        step += 1
        trainer.step()
        if validate is not None and step in validated_at:
            should_stop = early_stopping.should_stop(step, validate(network))
        should_stop = should_stop or step == schedule.steps
        if should_stop or step % REPORT_EVERY == 0:
            loss = trainer.loss_since(step)
            report(step, loss)
    kept = early_stopping.restore_best(step)
    return TrainedNetwork(
        network=network,
        loss=loss,
        steps=kept,
        taken=step,
        windows=trainer.windows,
        notes=(*trainer.notes(), *([] if kept == schedule.steps else [_EARLY.format(kept)])),
    )


class Trainer:
    """Optimiser steps on batches; one that does not fit in memory is halved."""

    def __init__(
        self, network: AttentionLSTM, draw: Callable[[int], Batch], schedule: Schedule
    ) -> None:
        self._network, self._draw, self._schedule = network, draw, schedule
        self._optimisers = Optimisers(
            network, schedule.learning_rate, schedule.matrix_rate, steps=schedule.steps
        )
        self._losses: list[Tensor] = []
        self._first_loss: float | None = None
        self.batch_size, self.windows = schedule.batch_size, 0

    def step(self) -> None:
        """Take one step. Raises OutOfMemoryError where not even a small batch fits."""
        self._network.train()
        loss = self._gradients()
        nn.utils.clip_grad_norm_(self._network.parameters(), LARGEST_GRADIENT)
        self._optimisers.step()
        self._losses.append(loss)
        self.windows += self.batch_size

    def _gradients(self) -> Tensor:
        """Return the loss of the next batch, with its gradients in place."""
        while True:
            try:
                return self._gradients_of(self.batch_size)
            except torch.OutOfMemoryError:
                if self.batch_size <= SMALLEST_BATCH:
                    raise
            self.batch_size //= 2

    def _gradients_of(self, size: int) -> Tensor:
        """Try it with so many windows: when this fails, nothing holds on to their memory."""
        batch = self._draw(size)
        self._optimisers.zero_grad()
        output = self._network(batch.context, batch.hidden, batch.calendar)
        loss = weighted_pinball(output, batch.target, batch.weights)
        loss.backward()
        return loss.detach()

    def loss_since(self, step: int) -> float:
        """Return the mean loss since the last call; TrainingDiverged if it exploded."""
        losses: list[float] = torch.stack(self._losses).tolist()
        self._losses.clear()
        mean, typical = sum(losses) / len(losses), median(losses)
        if self._first_loss is None:
            self._first_loss = max(1.0, typical)
        finite = torch.stack([weight.isfinite().all() for weight in self._network.parameters()])
        if not math.isfinite(mean) or not bool(finite.all()):
            raise _diverged(f"training diverged: the loss is {mean} at step {step}")
        if typical > EXPLODED * self._first_loss:
            raise _diverged(f"training diverged: the loss rose to {typical:g} at step {step}")
        return mean

    def notes(self) -> list[str]:
        """Return a note where memory ran out."""
        wanted, used = self._schedule.batch_size, self.batch_size
        return [] if wanted == used else [f"out of memory: batches of {used}, not {wanted}"]


def _diverged(message: str) -> TrainingDiverged:
    return TrainingDiverged(
        message, hint="set a smaller `learning_rate` under [datasets.NAME.training]"
    )


class EarlyStopping:
    """The errors of one training on windows held out, and the weights at the least of them."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._least, self._latest, self._risen = math.inf, math.nan, 0
        self._best_step, self._best = 0, network.state_dict()

    def should_stop(self, step: int, error: float) -> bool:
        """Record an error; return whether to stop."""
        self._latest = error
        if error < self._least:
            weights = self._network.state_dict()
            self._least, self._best_step = error, step
            self._best = {name: weight.clone() for name, weight in weights.items()}
        self._risen = self._risen + 1 if self._has_risen() else 0
        return self._risen >= PATIENCE

    def _has_risen(self) -> bool:
        return self._latest > (1 + CLEARLY) * self._least

    def restore_best(self, step: int) -> int:
        """Put the best weights back if the latest are clearly worse; return the step they are of.

        A network that could not be evaluated stays as it is after `step`.
        """
        if not self._has_risen():
            return step
        self._network.load_state_dict(self._best)
        return self._best_step
