"""Optimisers: which weights are Muon's, that none is forgotten, and how learning rates go."""

from collections import Counter

import pytest
import torch
from torch import nn

from forecaster.network.network import ENCODERS, AttentionLSTM
from forecaster.network.score_functions import SCORES
from forecaster.training.optimizers import WARM_UP, Optimisers, inner_matrices
from tests.network.networks import small_network, small_spec

SPECS = [
    *({"encoder": name} for name in ENCODERS),
    *({"score": name, "self_attention": True} for name in SCORES),
    {"heads": 1},
    {"calendar": True, "statistics": "causal"},
    {"layers": 1, "head": "student_t"},
    {"head": "gaussian_mixture"},
]


def muons(network: AttentionLSTM) -> set[str]:
    inner = {id(weight) for weight in inner_matrices(network)}
    return {name for name, weight in network.named_parameters() if id(weight) in inner}


def groups(optimisers: Optimisers) -> list[torch.optim.Optimizer]:
    return list(optimisers._both)


@pytest.mark.parametrize("changes", SPECS, ids=str)
def test_every_weight_is_in_exactly_one_optimiser(changes: dict[str, object]) -> None:
    network = small_network(small_spec(**changes))

    both = groups(Optimisers(network, 1e-3, 2.0, steps=10))

    held = Counter(
        id(weight) for optimiser in both for group in optimiser.param_groups
        for weight in group["params"]
    )  # fmt: skip
    assert held == Counter(id(weight) for weight in network.parameters())


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_linear_and_recurrent_matrices_inside_are_those_of_muon(encoder: str) -> None:
    network = small_network(small_spec(encoder=encoder, self_attention=True))

    attention = {
        f"{part}.{name}.weight"
        for part in ("attention", "among_states")
        for name in ("query", "key")
    }
    recurrent = {f"encoder.weight_{kind}_l{layer}" for kind in ("ih", "hh") for layer in (0, 1)}
    states = {"among_states.value.weight", "among_states.mix.weight"}
    rest = {"tokens.embed.weight", "summary.weight", "mlp.0.weight"}
    assert muons(network) == attention | recurrent | states | rest


@pytest.mark.parametrize("changes", SPECS, ids=str)
def test_outputs_and_what_is_no_matrix_are_left_to_adamw(changes: dict[str, object]) -> None:
    network = small_network(small_spec(**changes))

    inner = muons(network)

    assert not {name for name in inner if name.split(".")[0] in ("gates", "residual", "head")}
    assert all(weight.ndim == 2 for name, weight in network.named_parameters() if name in inner)


class Bilinear(nn.Module):
    """A score of somebody else: a weight of three axes, and a layer that is used twice."""

    projected = True

    def __init__(self, shape: object) -> None:
        super().__init__()
        self.between = nn.Parameter(torch.eye(4).repeat(4, 1, 1))
        self.once = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.twice.weight = self.once.weight

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.once(queries) @ self.between @ self.twice(keys).mT
        return scores


def test_weights_of_a_plugin_with_three_axes_are_left_to_adamw() -> None:
    network = AttentionLSTM(small_spec(score="own"), {"own": Bilinear})

    assert not {name for name in muons(network) if name.endswith("between")}
    muon, adam = groups(Optimisers(network, 1e-3, 2.0, steps=10))
    assert any(weight.ndim == 3 for weight in adam.param_groups[0]["params"])
    assert "attention.score.once.weight" in muons(network)
    assert len(muon.param_groups[0]["params"]) == len(muons(network))


def test_learning_rates_rise_and_fall() -> None:
    steps, rate = 100, 1e-2
    network = small_network(small_spec())
    optimisers = Optimisers(network, rate, 2.0, steps=steps)
    muon, adam = groups(optimisers)
    rates = []
    for _ in range(steps):
        rates.append((muon.param_groups[0]["lr"], adam.param_groups[0]["lr"]))
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        optimisers.step()

    of_muon, of_adam = zip(*rates, strict=True)
    assert of_muon == pytest.approx([2.0 * each for each in of_adam])
    highest = of_adam.index(max(of_adam))
    assert abs(highest - WARM_UP * steps) <= 1
    assert of_adam[highest] == pytest.approx(rate)
    assert list(of_adam[: highest + 1]) == sorted(of_adam[: highest + 1])
    assert list(of_adam[highest:]) == sorted(of_adam[highest:], reverse=True)
    assert of_adam[0] < rate / 10
    assert of_adam[-1] < rate / 100


@pytest.mark.parametrize("changes", SPECS, ids=str)
def test_a_step_moves_every_weight_that_has_a_gradient(changes: dict[str, object]) -> None:
    network = small_network(small_spec(**changes))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimisers = Optimisers(network, 1e-2, 2.0, steps=10)

    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    optimisers.step()

    for name, weight in network.named_parameters():
        assert bool(weight.isfinite().all()), name
        assert not torch.equal(weight, before[name]), name
    optimisers.zero_grad()
    assert all(weight.grad is None for weight in network.parameters())
