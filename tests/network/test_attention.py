"""Attention: weights over past patches and two sentinels."""

import math
from itertools import product

import pytest
import torch
from torch import nn

from forecaster.errors import IncompatibleCheckpoint
from forecaster.network.attention import SelfAttention, TemporalAttention, lookup
from forecaster.network.masks import LONG_SEASON_PRIOR, SEASON_PRIOR, seasonal_prior
from forecaster.network.normalizers import NORMALISERS
from forecaster.network.score_functions import SCORES
from tests.network.networks import small_spec
from tests.tolerance import assert_close

pytestmark = pytest.mark.numeric


def test_an_unknown_part_is_refused_by_name() -> None:
    with pytest.raises(IncompatibleCheckpoint, match=r"score must be one of .* found 'dott'"):
        lookup(SCORES, "score", "dott")
    with pytest.raises(IncompatibleCheckpoint, match="found 'spars'"):
        lookup(NORMALISERS, "normaliser", "spars")


def test_the_prior_favours_copying_from_whole_seasons_before() -> None:
    prior = seasonal_prior(small_spec(season_length=8, long_season=16, patch_length=4))
    assert prior[2] == SEASON_PRIOR
    assert prior[4] == pytest.approx(SEASON_PRIOR / 1.3 + LONG_SEASON_PRIOR)
    assert prior[[1, 3, 5]].tolist() == [0, 0, 0]


def test_without_a_season_the_prior_favours_the_last_value() -> None:
    attention = TemporalAttention(small_spec(season_length=1, long_season=1))
    assert attention.lag_bias.abs().sum() == 0
    assert bool((attention.sentinel_bias[:, 0] > attention.sentinel_bias[:, 1]).all())


def test_a_patch_counts_for_the_points_it_has() -> None:
    attention = TemporalAttention(small_spec())
    states, full = torch.randn(1, 6, 8), torch.ones(1, 6)
    half = full.clone()
    half[0, 3] = 0.5
    odds = attention(states, half) / attention(states, full)
    ratio = odds[..., 3] / odds[..., 0]
    assert_close(ratio, torch.full_like(ratio, 0.5))


def test_season_is_representable_before_training() -> None:
    """The lag bias is looked up by how many patches lie between source and target."""
    attention = TemporalAttention(small_spec())
    with torch.no_grad():
        for weight in attention.parameters():
            weight.zero_()
        attention.lag_bias[:, 4] = 50.0
    weights = attention(torch.randn(1, 6, 8), torch.ones(1, 6))
    attended = weights.argmax(3)[0]  # (K, Hp): future patch a = 1, 2, 3 looks 4 patches back
    assert attended.tolist() == [[2, 3, 4]] * 4


PAIRS = list(product(SCORES, NORMALISERS))
every_pair = pytest.mark.parametrize(
    ("score", "normaliser"), PAIRS, ids=["-".join(pair) for pair in PAIRS]
)


@every_pair
def test_weights_of_any_attention_are_shares_of_what_was_observed(
    score: str, normaliser: str
) -> None:
    attention = scattered(score=score, normaliser=normaliser)
    states, observed = torch.randn(3, 6, 8) * 3, torch.ones(3, 6)
    observed[1, 2:5] = torch.tensor([0.0, 0.25, 0.0])
    observed[2] = 0

    weights = attention(states, observed).detach()

    assert weights.shape == (3, 4, 3, 8)
    assert bool((weights >= 0).all())
    assert_close(weights.double().sum(3), torch.ones(3, 4, 3))
    assert weights[..., :6].movedim(3, 1)[observed == 0].abs().sum() == 0


@every_pair
def test_gradients_of_any_attention_are_finite(score: str, normaliser: str) -> None:
    attention = scattered(score=score, normaliser=normaliser)
    states = torch.randn(3, 6, 8).requires_grad_()
    observed = torch.ones(3, 6)
    observed[1, 2], observed[2] = 0, 0

    (attention(states, observed) * torch.arange(8)).sum().backward()

    gradients = [states.grad, *(weight.grad for weight in attention.parameters())]
    assert all(gradient is None or bool(gradient.isfinite().all()) for gradient in gradients)
    assert states.grad is not None
    assert bool(states.grad[:2, -1].any())


@every_pair
def test_only_the_newest_patches_of_a_window_are_attended(score: str, normaliser: str) -> None:
    attention = scattered(score=score, normaliser=normaliser, attention_window=2)
    weights = attention(torch.randn(2, 6, 8), torch.ones(2, 6)).detach()
    assert weights[..., :4].abs().sum() == 0
    assert_close(weights.sum(3), torch.ones(2, 4, 3))


@every_pair
def test_a_low_temperature_chooses_one_source(score: str, normaliser: str) -> None:
    attention = scattered(score=score, normaliser=normaliser, temperature=1e-4)
    weights = attention(torch.randn(2, 6, 8), torch.ones(2, 6)).detach()
    assert float(weights.amax(3).min()) > 0.999


@every_pair
def test_a_high_temperature_treats_all_that_was_observed_alike(score: str, normaliser: str) -> None:
    attention = scattered(score=score, normaliser=normaliser, temperature=1e6)
    observed = torch.tensor([[1.0, 0, 1, 1, 0, 1]])
    weights = attention(torch.randn(1, 6, 8), observed).detach()
    expected = torch.cat((observed, torch.ones(1, 2)), 1).expand(1, 4, 3, 8) / 6
    torch.testing.assert_close(
        weights,
        expected,
        rtol=1e-3,
        atol=1e-4,  # tolerance: the temperature is high, not endless
    )


@every_pair
def test_no_state_attends_to_a_newer_one(score: str, normaliser: str) -> None:
    torch.manual_seed(0)
    among = SelfAttention(small_spec(score=score, normaliser=normaliser, self_attention=True))
    states = torch.randn(2, 6, 8)
    assert torch.equal(among(states), states)  # before training

    nn.init.normal_(among.mix.weight)
    later = states.clone()
    later[:, 4:] += 1
    before, after = among(states), among(later)

    assert_close(before[:, :4], after[:, :4])
    assert bool((before[:, :4] != states[:, :4]).any())
    assert bool(before.isfinite().all())


def test_masks_and_priors_add_up() -> None:
    spec = small_spec(attention_window=4, priors=("older", "second"))
    plugins = {
        "older": lambda places: 0.5 * places.lags,
        "second": lambda places: torch.where(places.lags == 3, -torch.inf, 0.0),
    }
    attention = TemporalAttention(spec, plugins)
    with torch.no_grad():
        for weight in attention.parameters():
            weight.zero_()
    observed = torch.tensor([[1.0, 1, 0.5, 1, 1, 0]])

    weights = attention(torch.randn(1, 6, 8), observed)[0, 0, 0]  # lags 6, 5, 4, 3, 2, 1

    odds = torch.tensor([0.0, 0, 0.5 * math.exp(2), 0, math.exp(1), 0, 1, 1])
    assert_close(weights, odds / odds.sum())


def scattered(**changes: object) -> TemporalAttention:
    """Attention with weights large enough to tell its parts apart."""
    torch.manual_seed(0)
    attention = TemporalAttention(small_spec(**changes))
    with torch.no_grad():
        for weight in attention.parameters():
            weight.add_(torch.randn_like(weight))
    return attention
