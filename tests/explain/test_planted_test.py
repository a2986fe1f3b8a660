"""Planted copies: one place to look at, and whether a small network finds it."""

import pytest

from forecaster.explain.planted_test import planted_lag, planted_mass, planted_panel
from tests.network.networks import small_spec


@pytest.mark.parametrize(
    ("past", "future", "window", "expected"),
    [(14, 2, 14, 8), (14, 1, 14, 8), (14, 4, 14, 9), (6, 3, 6, 5), (14, 2, 6, 4), (3, 3, 3, None)],
)
def test_every_future_patch_has_one_source_in_reach(
    past: int, future: int, window: int, expected: int | None
) -> None:
    spec = small_spec(
        context_length=4 * past, prediction_length=4 * future, attention_window=window
    )

    lag = planted_lag(spec)

    assert lag == expected
    if lag is not None:
        for patch in range(1, future + 1):  # patches back from the cutoff: 1 is the newest
            assert 1 <= lag - patch + 1 <= window < 2 * lag - patch + 1


def test_values_repeat_after_the_lag_but_for_a_little_noise() -> None:
    panel = planted_panel(small_spec(), lag=5, seed=0)

    period = 5 * 4
    change = panel.deviations[:, period:] - panel.deviations[:, :-period]
    assert float(change.std()) == pytest.approx(0.1, rel=0.05)
    assert float(panel.deviations[:, :period].std()) == pytest.approx(1, rel=0.05)


def test_a_context_without_room_for_a_source_has_no_answer() -> None:
    assert planted_mass(small_spec(context_length=12, attention_window=3)) is None


@pytest.mark.slow
def test_attention_finds_the_patch_that_was_copied() -> None:
    spec = small_spec(
        prediction_length=4, hidden_size=64, layers=1, key_size=32, mlp_size=128, dropout=0.0
    )

    found = planted_mass(spec)

    assert found is not None
    assert found > 0.9
