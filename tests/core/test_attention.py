"""Attention: weights over past patches and two sentinels."""

import pytest
import torch

from forecaster.errors import IncompatibleCheckpoint
from forecaster.model.attention import TemporalAttention, lookup
from forecaster.model.masks import LONG_SEASON_PRIOR, SEASON_PRIOR, seasonal_prior
from forecaster.model.normalisers import NORMALISERS
from forecaster.model.scores import SCORES
from tests.core.networks import small_spec


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
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.5))


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
