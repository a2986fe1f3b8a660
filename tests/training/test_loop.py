"""Learning: what ends a training, which weights it leaves, and what it does without memory."""

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from forecaster.errors import TrainingDiverged
from forecaster.network.network import AttentionLSTM, NetworkOutput
from forecaster.training.loop import (
    PATIENCE,
    REPORT_EVERY,
    VALIDATIONS,
    EarlyStopping,
    Schedule,
    TrainedNetwork,
    Trainer,
    Validate,
    learn,
)
from forecaster.training.sampling import Batch
from tests.network.networks import contexts, small_network, small_spec

SPEC = small_spec(hidden_size=4, layers=1, heads=2, mlp_size=8, context_length=8, dropout=0.0)
SCHEDULE = Schedule(steps=100, batch_size=16, learning_rate=1e-3)


def draw(size: int) -> Batch:
    windows = contexts(size, SPEC.context_length + SPEC.prediction_length)
    context = windows[:, : SPEC.context_length]
    return Batch(
        context=context,
        target=windows[:, SPEC.context_length :],
        hidden=torch.zeros_like(context, dtype=torch.bool),
        weights=torch.ones(size),
    )


def silent(step: int, loss: float) -> None:
    """Nobody listens."""


class Script:
    """A judge with its mind made up, who remembers the weights it saw."""

    def __init__(self, *errors: float) -> None:
        self.errors: Iterator[float] = iter(errors)
        self.seen: list[dict[str, Tensor]] = []

    def __call__(self, network: AttentionLSTM) -> float:
        self.seen.append({name: part.clone() for name, part in network.state_dict().items()})
        return next(self.errors)


def learnt(judge: Validate | None, steps: int = 4 * REPORT_EVERY) -> TrainedNetwork:
    schedule = Schedule(steps=steps, batch_size=4, learning_rate=1e-3)
    return learn(small_network(SPEC), draw, schedule, judge, silent)


def same(network: nn.Module, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(part, weights[name]) for name, part in network.state_dict().items())


def test_an_error_that_rises_at_the_end_brings_the_best_weights_back() -> None:
    script = Script(3.0, 1.0, 1.2, 1.2)

    found = learnt(script)

    assert (found.steps, found.taken) == (2 * REPORT_EVERY, 4 * REPORT_EVERY)
    assert same(found.network, script.seen[1])
    assert found.notes == (
        "early stopping: the validation error rose after step 50, whose weights are kept",
    )


@pytest.mark.parametrize(
    ("errors", "ends_after", "kept"),
    [
        ([3.0, 1.0, 1.2, 1.2, 1.2], 5, 2),
        ([3.0, 1.0, 1.2, 1.2, 1.04, 1.2, 1.2, 1.04, 1.02, 1.03], 10, 10),
        ([1.0, 0.9, 0.8, 0.7, 0.6], 5, 5),
        ([1.0, math.inf, math.inf, math.inf], 4, 1),
        ([math.inf] * VALIDATIONS, 10, 10),
        ([0.0, 0.0, 1e-9], 3, 1),
    ],
    ids=["rises", "goes up and down", "falls", "breaks", "unknown", "was nothing"],
)
def test_only_an_error_that_stays_clearly_higher_counts(
    errors: list[float], ends_after: int, kept: int
) -> None:
    network = nn.Linear(1, 1)
    course = EarlyStopping(network)
    for step, error in enumerate(errors, start=1):
        nn.init.constant_(network.weight, step)
        if course.should_stop(step, error):
            break

    assert step == ends_after
    assert course.restore_best(step) == kept
    assert network.weight.item() == kept


def test_a_training_ends_where_its_course_is_over() -> None:
    found = learnt(Script(1.0, *[2.0] * PATIENCE), steps=(PATIENCE + 2) * REPORT_EVERY)

    assert (found.steps, found.taken) == (REPORT_EVERY, (PATIENCE + 1) * REPORT_EVERY)


@pytest.mark.parametrize("steps", [1, REPORT_EVERY - 1])
def test_a_training_of_a_few_steps_is_not_judged_on_the_way(steps: int) -> None:
    script = Script()

    found = learnt(script, steps)

    assert (found.taken, script.seen) == (steps, [])
    assert math.isfinite(found.loss)


def test_judging_does_not_change_what_is_learnt() -> None:
    judged, unjudged = learnt(Script(1.0), REPORT_EVERY), learnt(None, REPORT_EVERY)

    assert same(judged.network, unjudged.network.state_dict())
    assert judged.loss == unjudged.loss


def roomy(most: int) -> Callable[[int], Batch]:
    """A memory with room for so many windows."""

    def draw_what_fits(size: int) -> Batch:
        if size > most:
            raise torch.OutOfMemoryError(f"no room for {size} windows")
        return draw(size)

    return draw_what_fits


@pytest.mark.fault(23)
def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    schedule = Schedule(steps=3, batch_size=64, learning_rate=1e-3)

    found = learn(small_network(SPEC), roomy(20), schedule, None, silent)

    assert (found.taken, found.windows) == (3, 3 * 16)
    assert found.notes == ("out of memory: batches of 16, not 64",)


@pytest.mark.fault(23)
def test_memory_that_has_no_room_for_a_small_batch_ends_the_training() -> None:
    schedule = Schedule(steps=3, batch_size=64, learning_rate=1e-3)

    with pytest.raises(torch.OutOfMemoryError, match="no room for 8 windows"):
        learn(small_network(SPEC), roomy(7), schedule, None, silent)


@pytest.mark.fault(22)
def test_a_loss_that_explodes_is_a_divergence_and_one_wild_batch_is_none() -> None:
    wild = replace(draw(16), target=torch.full((16, SPEC.prediction_length), 1e9))
    batches = iter([draw(16)] * 4 + [wild] + [draw(16)] * 2 + [wild])
    descent = Trainer(small_network(SPEC), lambda _: next(batches), SCHEDULE)
    for _ in range(4):
        descent.step()
    descent.loss_since(4)

    for _ in range(3):
        descent.step()
    assert descent.loss_since(7) > 1e6

    descent.step()
    with pytest.raises(TrainingDiverged, match=r"the loss rose to .* at step 8"):
        descent.loss_since(8)


def test_a_batch_that_did_not_fit_is_let_go_before_the_next_is_drawn() -> None:
    drawn: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def draw_and_look(size: int) -> Batch:
        alive.extend(batch() is not None for batch in drawn)
        batch = draw(size)
        drawn.append(weakref.ref(batch.context))
        return batch

    class Crowded(AttentionLSTM):
        def forward(
            self, context: Tensor, hidden: Tensor | None = None, calendar: Tensor | None = None
        ) -> NetworkOutput:
            if len(context) > 8:
                raise torch.OutOfMemoryError(f"no room for {len(context)} windows")
            return super().forward(context, hidden, calendar)

    Trainer(Crowded(SPEC), draw_and_look, SCHEDULE).step()

    assert len(drawn) == 2
    assert not any(alive)
