"""Heads: offsets from the median, whatever the features; and the encoders beside them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecaster.config import settings
from forecaster.network.network import ENCODERS
from forecaster.network.output_heads import HEADS, MEDIAN, pinball
from forecaster.schemas import QUANTILE_LEVELS
from forecaster.training.estimator import fit
from forecaster.training.preparation import prepare
from tests.config.configs import dataset, parsed, small_dataset
from tests.network.networks import contexts, small_network, small_spec
from tests.training.test_estimator import QUICK, daily

WIDTH, PATCH = 6, 4
any_head = pytest.mark.parametrize("head", HEADS)


def offsets(head: str, features: torch.Tensor) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found: torch.Tensor = HEADS[head](WIDTH, PATCH)(features)
    return found


def test_every_part_can_be_configured() -> None:
    assert tuple(ENCODERS) == settings.ENCODERS
    assert tuple(HEADS) == settings.HEADS


def test_the_levels_are_symmetric() -> None:
    mirrored = [round(1 - level, 9) for level in reversed(QUANTILE_LEVELS)]
    assert mirrored == list(QUANTILE_LEVELS)


@any_head
@given(size=st.floats(-1e30, 1e30), seed=st.integers(0, 100))
def test_offsets_ascend_from_exactly_zero_at_the_median(head: str, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, WIDTH, generator=generator) * size
    found = offsets(head, features)
    assert found.shape == (2, 3, PATCH, len(QUANTILE_LEVELS))
    assert bool(found.isfinite().all())
    assert bool((found.diff(dim=3) >= 0).all())
    assert bool((found[..., MEDIAN] == 0).all())


@any_head
def test_every_parameter_of_a_head_is_learnt_by_the_pinball_loss(head: str) -> None:
    torch.manual_seed(0)
    module = HEADS[head](WIDTH, PATCH)
    error = torch.randn(8, 3, PATCH).exp()
    pinball(module(torch.randn(8, 3, WIDTH)), error).mean().backward()
    for weight in module.parameters():
        assert weight.grad is not None
        assert bool((weight.grad != 0).any(1 if weight.dim() > 1 else 0).all())


@any_head
def test_a_head_learns_the_spread_of_what_it_sees(head: str) -> None:
    torch.manual_seed(0)
    module = HEADS[head](WIDTH, 1)
    error, features = torch.randn(1000, 1, 1), torch.ones(1, 1, WIDTH)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(80):
        optimiser.zero_grad()
        pinball(module(features), error).mean().backward()
        optimiser.step()
    expected = error.flatten().quantile(torch.tensor(QUANTILE_LEVELS))
    found = module(features).flatten() + error.median()
    assert float((found - expected).detach().abs().max()) < 0.15


@pytest.mark.parametrize("encoder", ENCODERS)
@any_head
def test_any_encoder_goes_with_any_head(encoder: str, head: str) -> None:
    output = small_network(small_spec(encoder=encoder, head=head))(contexts(3, 24))
    assert output.deviations.shape == (3, 10, len(QUANTILE_LEVELS))
    assert bool(output.deviations.isfinite().all())
    assert bool((output.deviations.diff(dim=2) >= 0).all())


@pytest.mark.parametrize(
    ("setting", "name"),
    [("encoder", "gru"), ("encoder", "rnn"), ("head", "student_t"), ("head", "gaussian_mixture")],
)
def test_what_the_configuration_names_is_trained(setting: str, name: str) -> None:
    lines = f'[datasets.x.model]\n{setting} = "{name}"'
    asked = getattr(parsed(dataset(lines)).datasets["x"].model, setting)
    panel, spec = prepare(daily(200), small_dataset(**{setting: asked}))
    result = fit(panel, spec, QUICK)
    assert getattr(result.model.spec, setting) == name
    assert result.validation is not None
    assert result.validation.coverage_80 > 0
